"""The client of each kind of storage: one a process and account."""

import os
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from fsspec.implementations.local import LocalFileSystem

from cluster.errors import StorageError
from cluster.storage.contract import ObjectStorage
from cluster.storage.location import KINDS, Location, is_remote, kind_of, path_of

if TYPE_CHECKING:  # the clients take half a second to import; who reads local files shall not wait for it
    from cluster.s3.filesystem import PatientS3FileSystem

ACCOUNT_VARIABLES = ("AWS_", "GOOGLE_", "CLOUDSDK_", "STORAGE_EMULATOR_HOST", "HF_", "GAVT_STORAGE_")
"""Beginnings of the variables that say where storage is and who asks; all processes of a job need them."""
_CLIENTS = {
    "s3": ("cluster.s3.filesystem", "PatientS3FileSystem"),
    "gs": ("cluster.gcs.filesystem", "PatientGcsFileSystem"),
    "hf": ("cluster.hub.filesystem", "HubFileSystem"),
}
_EXTRAS = {"hf": "hub"}


def get_ready(url: Location) -> None:
    """Make the client that later reads of `url` use, which takes half a second with S3."""
    open_storage(url)


def open_filesystem(url: Location) -> tuple[Any, str]:
    """What holds `url`, a client of object storage or fsspec's local files, and the path in it."""
    return open_storage(url) if is_remote(url) else (_local(), str(path_of(url).absolute()))


def open_storage(url: Location) -> tuple[ObjectStorage, str]:
    """The client of the storage on which `url` lies, and the path there.

    Raises:
        StorageError: it is none of the known kinds, or its client is not installed.
    """
    kind = kind_of(url)
    if kind not in KINDS:
        known = ", ".join(f"{kind}://" for kind in KINDS)
        raise StorageError(f"{os.fspath(url)}: expected a path or a kind of storage that is known ({known})")
    account = tuple((name, os.environ[name]) for name in os.environ if name.startswith(ACCOUNT_VARIABLES))
    return _client(kind, os.getpid(), account), os.fspath(url).partition("://")[2]


def s3_of(url: Location) -> "PatientS3FileSystem | None":
    """The client of an object on S3; None for what lies elsewhere."""
    return cast("PatientS3FileSystem", open_storage(url)[0]) if kind_of(url) == "s3" else None


@lru_cache(maxsize=1)
def _local() -> LocalFileSystem:
    return LocalFileSystem()


@lru_cache(maxsize=16)
def _client(kind: str, process: int, account: tuple[tuple[str, str], ...]) -> ObjectStorage:
    """One client a kind, process and set of variables that say where and who: an event loop does not survive a fork, so
    a child makes its own; and changed variables count from the next call on."""
    module, name = _CLIENTS[kind]
    try:
        make = getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        raise StorageError(
            f"{kind}://: expected the packages for this kind of storage, found no {error.name}: "
            f"pip install 'gavt[{_EXTRAS.get(kind, kind)}]'"
        ) from None
    return cast(ObjectStorage, make())
