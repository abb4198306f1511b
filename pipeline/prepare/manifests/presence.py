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
    """Whether `missing` looks for the row's file: a local one, or one on S3."""
    return row.source.startswith(("s3://", "/"))


def missing(rows: Iterable[VideoRow]) -> Iterator[VideoRow]:
    """Rows whose file is not there. Only local files and s3:// are asked for; what is downloaded counts as there.

    Raises:
        StorageError: object storage does not answer.
    """
    remaining = iter(rows)
    with ThreadPoolExecutor(_REQUESTS) as pool:
        while batch := list(islice(remaining, _BATCH)):
            remote = {row.source for row in batch if row.source.startswith("s3://")}
            there = dict(zip(remote, pool.map(storage.exists, remote), strict=True))
            for row in batch:
                source = row.source
                if not (there[source] if source in there else not source.startswith("/") or os.path.exists(source)):
                    yield row
