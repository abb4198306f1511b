"""The client of each kind of storage: one a process and account."""

import os
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import fsspec

from cluster.errors import StorageError
from cluster.storage.location import Location, is_remote, is_s3, path_of

if TYPE_CHECKING:  # S3's client takes half a second to import; who reads local files shall not wait for it
    from cluster.s3.filesystem import PatientS3FileSystem


def get_ready(url: Location) -> None:
    """Make the client that later reads of `url` use, which takes half a second with S3."""
    open_filesystem(url)


def open_filesystem(url: Location) -> tuple[Any, str]:
    """The filesystem that holds `url`, and the path in it."""
    if not is_remote(url):
        return _filesystem("file", os.getpid(), ()), str(path_of(url).absolute())
    protocol, path = os.fspath(url).split("://", 1)
    account = tuple((name, os.environ[name]) for name in os.environ if name.startswith("AWS_"))
    return _filesystem(protocol, os.getpid(), account), path


def s3_of(url: Location) -> "PatientS3FileSystem | None":
    """The client of an object on S3; None for what lies elsewhere."""
    return open_filesystem(url)[0] if is_s3(url) else None


@lru_cache(maxsize=16)
def _filesystem(protocol: str, process: int, account: tuple[tuple[str, str], ...]) -> Any:
    """One filesystem a protocol, process and set of variables that say where and who: an event loop does not survive a
    fork, so a child makes its own; and changed variables count from the next call on."""
    try:
        if protocol == "s3":
            from cluster.s3.filesystem import PatientS3FileSystem

            return PatientS3FileSystem()
        return fsspec.filesystem(protocol, skip_instance_cache=True)
    except (ValueError, ImportError) as error:
        raise StorageError(
            f"{protocol}://: expected a kind of storage that fsspec knows, found none: {error}"
        ) from None
