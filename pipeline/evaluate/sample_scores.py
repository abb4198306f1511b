"""`evaluation_scores.npz`: what single samples give to the figures of an evaluation, for comparing models on the same
samples. Of each table that has such figures:

{table}.ids        str [N]              samples: their keys, with what they were shown with or looked for
                                        among where that was drawn or hangs on the set
{table}.clusters   str [N]              the image or video of each
{table}.rows       str [R]
{table}.columns    str [C]

and of the figure of row r in column c, counted from 0, the arrays of its kind, see
`pipeline.evaluate.metrics.statistics`, whose last axis is N:

{table}.{r}.{c}.mean.values      float64 [N]     its mean; NaN where the row was not judged on a sample
{table}.{r}.{c}.{kind}.{array}   float [.., N]   others
"""

import io
import zipfile
from collections.abc import Mapping, Sequence

import numpy as np

from cluster import storage
from pipeline.errors import RunError
from pipeline.evaluate.measures.contract import SampleScores
from pipeline.evaluate.metrics.statistics import STATISTICS, Statistic

SCORES = "evaluation_scores.npz"


def as_npz(scores: Sequence[SampleScores]) -> bytes:
    """The file."""
    arrays: dict[str, np.ndarray] = {}
    for one in scores:
        of_table: dict[str, np.ndarray] = {
            "ids": np.array(one.ids, dtype=np.str_),
            "clusters": np.array(one.clusters, dtype=np.str_),
            "rows": np.array(list(one.values), dtype=np.str_),
            "columns": np.array(one.columns, dtype=np.str_),
        }
        for number, row in enumerate(one.values):
            for place, column in enumerate(one.columns):
                found = one.statistic(row, column)
                of_table |= {f"{number}.{place}.{found.kind}.{name}": array for name, array in found.arrays.items()}
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
        tables = [name.removesuffix(".ids") for name in arrays if name.endswith(".ids")]
        return {table: _of_table(table, arrays) for table in tables}
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise RunError(f"{url}: damaged ({str(error).splitlines()[0]}); gavt evaluate writes it anew") from None


def _of_table(table: str, arrays: Mapping[str, np.ndarray]) -> SampleScores:
    ids, clusters, rows, columns = (arrays[f"{table}.{name}"] for name in ("ids", "clusters", "rows", "columns"))
    if len(clusters) != len(ids):
        raise ValueError(f"{table} has {len(clusters)} clusters of {len(ids)} samples")
    figures: dict[tuple[str, str, str], dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        if not name.startswith(f"{table}.") or name.count(".") != 4:
            continue
        if array.shape[-1] != len(ids):
            raise ValueError(f"{name} has {list(array.shape)} of {len(ids)} samples")
        _, number, place, kind, part = name.split(".")
        figures.setdefault((number, place, kind), {})[part] = array
    values: dict[str, dict[str, Statistic]] = {str(row): {} for row in rows}
    for (number, place, kind), parts in figures.items():
        values[str(rows[int(number)])][str(columns[int(place)])] = STATISTICS[kind](**parts)
    lacking = next((row for row, found in values.items() if list(found) != columns.tolist()), None)
    if lacking is not None:
        raise ValueError(f"{table} lacks figures of the row {lacking}")
    return SampleScores(table, ids.tolist(), clusters.tolist(), values)
