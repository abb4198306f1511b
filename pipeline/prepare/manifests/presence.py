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
    """Whether `missing` looks for the row's file: a local one, or one on object storage."""
    return row.source.startswith("/") or storage.is_stored(row.source)


def missing(rows: Iterable[VideoRow]) -> Iterator[VideoRow]:
    """Rows whose file is not there. What is downloaded is not asked for, and counts as there.

    Raises:
        StorageError: object storage does not answer.
    """
    remaining = iter(rows)
    with ThreadPoolExecutor(_REQUESTS) as pool:
        while batch := list(islice(remaining, _BATCH)):
            remote = {row.source for row in batch if storage.is_stored(row.source)}
            there = dict(zip(remote, pool.map(storage.exists, remote), strict=True))
            for row in batch:
                source = row.source
                if not (there[source] if source in there else not source.startswith("/") or os.path.exists(source)):
                    yield row
