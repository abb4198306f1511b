"""Versions of files: what tells a file from the one that was there before."""

import os
from dataclasses import dataclass

from cluster.storage.filesystems import open_storage
from cluster.storage.location import Location, is_remote, path_of
from cluster.storage.plain_errors import said_plainly


@dataclass(frozen=True)
class FileVersion:
    """One version of a file: its size in bytes, and what tells it from others (the ETag on S3; of a local file time of
    change, size and inode)."""

    size: int
    etag: str


def version(url: Location) -> FileVersion:
    """Size and version of a file, with one request.

    Raises:
        MissingFileError, ForbiddenError, UnreachableError, StorageError: as the names say.
    """
    with said_plainly("read", url):
        if not is_remote(url):
            return local_version(os.stat(path_of(url)))
        storage, path = open_storage(url)
        return FileVersion(*storage.head(path))


def local_version(status: os.stat_result) -> FileVersion:
    """The version of a local file, from what the system says of it."""
    return FileVersion(status.st_size, f"{status.st_mtime_ns:x}-{status.st_size:x}-{status.st_ino:x}")
