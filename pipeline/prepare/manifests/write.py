"""Rows to gavt's own lists, from which they are read back just as they were."""

import csv
import json
import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from cluster import storage
from cluster.masking import mask_url
from cluster.scratch import scratch_folder
from pipeline.errors import ManifestError
from pipeline.prepare.manifests.own_row import COLUMNS
from pipeline.prepare.manifests.row import SEGMENT_NAMES, VideoRow

_BATCH = 8192


def write_list(rows: Iterable[VideoRow], out: str) -> int:
    """Write rows to a list that appears whole or not at all; gives their number.

    Args:
        rows: with absolute sources and unique ids, as `VideoList` gives them.
        out: path or s3:// URL that ends with `.jsonl`, `.csv` or `.parquet`.

    Raises:
        ManifestError: another ending, or what reading the rows raises.
        StorageError: `out` can't be written.
    """
    suffix = os.path.splitext(out)[1].lower()
    writers = {".jsonl": _write_jsonl, ".csv": _write_csv, ".parquet": _write_parquet}
    if suffix not in writers:
        raise ManifestError(
            f"--out {out}: expected a name that ends with {', '.join(writers)}, found {suffix or 'none'}"
        )
    storage.check_file_writable(out)
    with scratch_folder("gavt-list-") as folder:
        path = folder / f"list{suffix}"
        secrets = 0

        def seen() -> Iterator[VideoRow]:
            nonlocal secrets
            for row in rows:
                secrets += mask_url(row.source) != row.source
                yield row

        count = writers[suffix](seen(), path)
        storage.upload(path, out)
        if secrets and not storage.is_remote(out):
            os.chmod(out.removeprefix("file://"), 0o600)  # a list keeps what its sources need
    return count


def _write_jsonl(rows: Iterable[VideoRow], path: Path) -> int:
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            values = {name: value for name, value in _values(row).items() if value is not None}
            file.write(json.dumps(values, ensure_ascii=False, separators=(",", ":")) + "\n")
            count += 1
    return count


def _write_csv(rows: Iterable[VideoRow], path: Path) -> int:
    count = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in rows:
            values = _values(row)
            writer.writerow([_cell(name, values[name]) for name in COLUMNS])
            count += 1
    return count


def _write_parquet(rows: Iterable[VideoRow], path: Path) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    strings, boxes = pa.list_(pa.string()), pa.list_(pa.list_(pa.float64()))
    types = {
        **dict.fromkeys(("source", "video", "split", "group", "sound", "keypoints"), pa.string()),
        **dict.fromkeys(("labels", "visible"), strings),
        **dict.fromkeys(("start_s", "end_s", "frame_s"), pa.float64()),
        **dict.fromkeys(SEGMENT_NAMES, pa.list_(strings)),
        "boxes": boxes,
        "segment_boxes": pa.list_(boxes),
    }
    schema = pa.schema([(name, types[name]) for name in COLUMNS])
    count = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in _batches(rows):
            writer.write_batch(pa.RecordBatch.from_pylist([_values(row) for row in batch], schema=schema))
            count += len(batch)
    return count


def _values(row: VideoRow) -> dict[str, Any]:
    return {
        "source": row.source,
        "video": row.video,
        "labels": list(row.labels) or None,
        "split": row.split,
        "start_s": row.start_s,
        "end_s": row.end_s,
        **{name: _listed(getattr(row, name)) for name in (*SEGMENT_NAMES, "boxes", "segment_boxes")},
        "visible": None if row.visible is None else list(row.visible),
        "group": row.group,
        "frame_s": row.frame_s,
        "sound": row.sound,
        "keypoints": row.keypoints,
    }


def _listed(values: Any) -> Any:
    """Tuples as lists, however deep."""
    return [_listed(value) for value in values] if isinstance(values, tuple) else values


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, str):
        # spaces at the ends would be taken off, and a cell that begins with a quote is read as JSON
        return value if _is_plain(value) and value[0] != '"' else json.dumps(value)
    if name in ("labels", "visible") and value and all(_is_plain(entry) and ";" not in entry for entry in value):
        joined = "; ".join(value)
        if joined[0] != "[":
            return joined
    return json.dumps(value, ensure_ascii=False)


def _is_plain(text: str) -> bool:
    return bool(text) and text == text.strip() and text.isprintable()


def _batches(rows: Iterable[VideoRow]) -> Iterator[list[VideoRow]]:
    remaining = iter(rows)
    while batch := list(islice(remaining, _BATCH)):
        yield batch
