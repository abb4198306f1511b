"""Whether something can be written to a place, asked before the work whose result goes there."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from cluster.errors import StorageError
from cluster.storage.filesystems import open_storage
from cluster.storage.location import Location, is_remote, join, path_of
from cluster.storage.plain_errors import said_plainly

_TRIAL = ".gavt-writable.part"
"""Named like what a killed writer leaves, which no listing shows."""


def check_writable(folder: Location) -> None:
    """Make sure that files can be made in a folder (path or URL), which need not be there yet; nothing is left of the
    try. On object storage a small object is written and removed.

    Raises:
        ForbiddenError, UnreachableError, StorageError: they can't, and why.
    """
    with said_plainly("write to", folder):
        if is_remote(folder):
            storage, path = open_storage(join(folder, _TRIAL))
            storage.pipe_file(path, b"gavt looks whether it may write here")
            with suppress(PermissionError):  # who may write need not be allowed to remove
                storage.rm_file(path)
            return
        there = _nearest(path_of(folder).absolute())
        if not there.is_dir():
            raise StorageError(f"{os.fspath(folder)}: expected a folder, or room for one, found that {there} is a file")
        with tempfile.TemporaryFile(prefix=_TRIAL, dir=there) as trial:
            trial.write(b"x")
            trial.flush()  # on a full disk this is what fails


def check_file_writable(file: Location) -> None:
    """As `check_writable`, for the folder in which a file will be made or replaced.

    Raises:
        ForbiddenError, UnreachableError, StorageError: it can't, and why; or a folder has its name.
    """
    if not is_remote(file) and path_of(file).is_dir():
        raise StorageError(f"{os.fspath(file)}: expected the name of a file to write, found a folder")
    check_writable(os.fspath(file).rpartition("/")[0] if is_remote(file) else path_of(file).absolute().parent)


def _nearest(folder: Path) -> Path:
    """The folder itself, or the nearest above it that is there."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder
