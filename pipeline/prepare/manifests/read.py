"""Any list of videos to rows: folders, list files, CSV and JSONL manifests, single videos; local or s3://."""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cluster import storage
from pipeline.errors import ManifestError
from pipeline.prepare.manifests.csv_file import read_csv
from pipeline.prepare.manifests.folder import VIDEO_SUFFIXES, walk_folder
from pipeline.prepare.manifests.jsonl import read_jsonl
from pipeline.prepare.manifests.list_file import read_list
from pipeline.prepare.manifests.raw_row import RawRow
from pipeline.prepare.manifests.row import VideoRow

_READERS = {".jsonl": read_jsonl, ".csv": read_csv, ".txt": read_list}


@dataclass(frozen=True)
class Manifest:
    """All videos to prepare.

    Attributes:
        rows: one a video, ids unique, in the order of the sources.
        repeated: sentences about rows that came twice and were kept once.
    """

    rows: list[VideoRow]
    repeated: list[str]


def read_manifests(sources: Sequence[str]) -> Manifest:
    """Read and join lists of videos.

    Each source is a folder (walked for video files), a list (`.txt`: a path or URL a line, `#` starts a comment), a
    manifest (`.jsonl`, or `.csv` with a header) or one video. Paths in a file are relative to the file.

    Raises:
        ManifestError: a missing source, a wrong row (`file:line: expected …, found …`), or no videos at all.
    """
    raw = [row for source in sources for row in _read_source(source)]
    if not raw:
        raise ManifestError(f"{', '.join(sources)}: expected videos, found none")
    rows, repeated = _unique(raw)
    return Manifest(_named(rows), repeated)


def _read_source(source: str) -> Iterable[RawRow]:
    if not storage.is_remote(source):
        source = os.path.abspath(source.removeprefix("file://"))
    suffix = os.path.splitext(source)[1].lower()
    if not storage.is_remote(source) and os.path.isdir(source):
        return walk_folder(source)
    if suffix in _READERS:
        return _READERS[suffix](source)
    if suffix in VIDEO_SUFFIXES:
        if not storage.exists(source):
            raise ManifestError(f"{source}: no such file or folder")
        return [RawRow(source=source, place=source)]
    if storage.is_remote(source):
        return walk_folder(source)
    if not os.path.exists(source):
        raise ManifestError(f"{source}: no such file or folder")
    known = ", ".join(_READERS)
    raise ManifestError(f"{source}: expected a folder, a video or a list ({known}), found a file named *{suffix}")


def _unique(raw: Sequence[RawRow]) -> tuple[list[RawRow], list[str]]:
    sources: dict[str, str] = {}
    ids: dict[str, str] = {}
    kept, repeated = [], []
    for row in raw:
        if row.source in sources:
            repeated.append(f"{row.place}: {row.source} is there already ({sources[row.source]})")
        elif row.video is not None and row.video in ids:
            repeated.append(f"{row.place}: a video named {row.video!r} is there already ({ids[row.video]})")
        else:
            kept.append(row)
            sources[row.source] = row.place
            if row.video is not None:
                ids[row.video] = row.place
    return kept, repeated


def _named(raw: Sequence[RawRow]) -> list[VideoRow]:
    """Rows with ids: the file's own name, and a piece of a hash of the whole path where several files share it."""
    names = [row.video if row.video is not None else _plain_name(row.source) for row in raw]
    taken = Counter(names)
    rows = []
    for row, name in zip(raw, names, strict=True):
        if row.video is None and taken[name] > 1:
            name = f"{name}-{hashlib.sha256(row.source.encode()).hexdigest()[:8]}"
        rows.append(
            VideoRow(
                video=name,
                source=row.source,
                labels=tuple(row.labels),
                split=row.split,
                boxes=None if row.boxes is None else tuple(row.boxes),
                visible=None if row.visible is None else tuple(row.visible),
                group=row.group,
            )
        )
    return rows


def _plain_name(source: str) -> str:
    stem = os.path.splitext(source.rstrip("/").rsplit("/", 1)[-1])[0]
    return re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-") or "video"
