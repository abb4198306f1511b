"""Whether the files of a list are there."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from cluster import storage
from pipeline.prepare.manifests.row import VideoRow

_REQUESTS = 32
"""Questions to object storage at once."""
_BATCH = 4096


def is_asked_for(row: VideoRow) -> bool:
    """Whether `missing` looks for a file of the row: a local one, or one on object storage."""
    return bool(_files_of(row))


def missing(rows: Iterable[VideoRow]) -> Iterator[tuple[VideoRow, str]]:
    """Rows of which a file is not there, the sound of an image and keypoints too, and its place; a row once for each.
    What is downloaded is not asked for, and counts as there.

    Raises:
        StorageError: object storage does not answer.
    """
    remaining = iter(rows)
    with ThreadPoolExecutor(_REQUESTS) as pool:
        while batch := list(islice(remaining, _BATCH)):
            asked = {place: is_there for row in batch for place, is_there in _files_of(row).items()}
            remote = {place: is_there for place, is_there in asked.items() if storage.is_stored(place)}
            there = dict(zip(remote, pool.map(_answer, remote.values(), remote), strict=True))
            for row in batch:
                for place, is_there in _files_of(row).items():
                    if not (there[place] if place in there else is_there(place)):
                        yield row, place


def _files_of(row: VideoRow) -> dict[str, Callable[[str], bool]]:
    """The places of a row's files, and what tells whether something is there."""
    files = {place: _file_is_there for place in (row.source, row.sound) if place is not None}
    if row.keypoints is not None:
        files[row.keypoints] = _keypoints_are_there
    return {place: ask for place, ask in files.items() if place.startswith("/") or storage.is_stored(place)}


def _answer(is_there: Callable[[str], bool], place: str) -> bool:
    return is_there(place)


def _file_is_there(place: str) -> bool:
    return storage.exists(place) if storage.is_stored(place) else os.path.exists(place)


def _keypoints_are_there(place: str) -> bool:
    """A file of JSON, with its name's end or without, or a folder with files, whatever is in them."""
    if place.endswith(".json"):
        return _file_is_there(place)
    return _file_is_there(f"{place}.json") or next(iter(storage.list_files(place)), None) is not None
