"""Whether the files of a list are there."""

import os
from collections.abc import Iterable, Iterator
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


def missing(rows: Iterable[VideoRow]) -> Iterator[VideoRow]:
    """Rows of which a file is not there, the sound of an image too. What is downloaded is not asked for, and counts as
    there.

    Raises:
        StorageError: object storage does not answer.
    """
    remaining = iter(rows)
    with ThreadPoolExecutor(_REQUESTS) as pool:
        while batch := list(islice(remaining, _BATCH)):
            remote = {place for row in batch for place in _files_of(row) if storage.is_stored(place)}
            there = dict(zip(remote, pool.map(storage.exists, remote), strict=True))
            for row in batch:
                if not all(there[place] if place in there else os.path.exists(place) for place in _files_of(row)):
                    yield row


def _files_of(row: VideoRow) -> list[str]:
    places = [row.source] if row.sound is None else [row.source, row.sound]
    return [place for place in places if place.startswith("/") or storage.is_stored(place)]
