"""`evaluation_scores.npz`: what single samples give to the figures of an evaluation, for comparing models on the same
samples. Of each table that has such figures:

{table}.ids        str [N]              samples: their keys, with what they were shown with where that was drawn
{table}.clusters   str [N]              the image or video of each
{table}.rows       str [R]
{table}.columns    str [C]
{table}.values     float64 [R, C, N]    NaN where a row was not judged on a sample

The mean of a row's values is its figure.
"""

import io
import zipfile
from collections.abc import Sequence

import numpy as np

from cluster import storage
from pipeline.errors import RunError
from pipeline.evaluate.measures.contract import SampleScores

SCORES = "evaluation_scores.npz"


def as_npz(scores: Sequence[SampleScores]) -> bytes:
    """The file."""
    arrays: dict[str, np.ndarray] = {}
    for one in scores:
        of_table = {
            "ids": np.array(one.ids, dtype=np.str_),
            "clusters": np.array(one.clusters, dtype=np.str_),
            "rows": np.array(list(one.values), dtype=np.str_),
            "columns": np.array(one.columns, dtype=np.str_),
            "values": np.stack([np.stack([row[name] for name in one.columns]) for row in one.values.values()]),
        }
        arrays |= {f"{one.measure}.{name}": array for name, array in of_table.items()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def read_scores(folder: str) -> dict[str, SampleScores]:
    """By table, what an evaluation left in its folder.

    Raises:
        RunError: there is none, or it is damaged.
    """
    url = storage.join(folder, SCORES)
    if not storage.exists(url):
        raise RunError(f"{url}: no such file; gavt evaluate writes it")
    try:
        with np.load(io.BytesIO(storage.read_bytes(url)), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        tables = dict.fromkeys(name.rpartition(".")[0] for name in arrays)
        return {table: _of_table(table, arrays) for table in tables}
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise RunError(f"{url}: damaged ({str(error).splitlines()[0]}); gavt evaluate writes it anew") from None


def _of_table(table: str, arrays: dict[str, np.ndarray]) -> SampleScores:
    ids, clusters, rows, columns, values = (
        arrays[f"{table}.{name}"] for name in ("ids", "clusters", "rows", "columns", "values")
    )
    if values.shape != (len(rows), len(columns), len(ids)) or len(clusters) != len(ids):
        raise ValueError(f"{table} has values {list(values.shape)}")
    of_rows = {
        str(row): {str(column): values[at, number] for number, column in enumerate(columns)}
        for at, row in enumerate(rows)
    }
    return SampleScores(table, ids.tolist(), clusters.tolist(), of_rows)
