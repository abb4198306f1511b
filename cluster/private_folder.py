"""Folders that only their user can change, made where others may make folders too and can guess the name; and the files
in them."""

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

from cluster.errors import StorageError

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def private_folder(path: Path) -> Path:
    """Make a folder that is this user's alone, or look whether the one that is there is; gives its path.

    What somebody else has put at the name is refused before anything in it is read, written or removed: a link leads
    elsewhere, and whoever owns a folder decides what is in it.

    Raises:
        StorageError: something else is there.
        OSError: it can't be made.
    """
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        pass
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
    found = _why_not_private(path.lstat())  # of a link itself
    if found is not None:
        raise StorageError(
            f"{path}: expected a folder that only this user can change, found {found}; remove it, or choose another "
            "place"
        )
    return path


def make_private(folder: str) -> None:
    """Make a folder and those above it that are missing, all of them for this user alone, whatever the umask says."""
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        return
    except FileNotFoundError:
        make_private(os.path.dirname(folder))
        with suppress(FileExistsError):
            os.mkdir(folder, 0o700)


def is_private(path: Path) -> bool:
    """Whether a folder is there that only this user can change."""
    try:
        return _why_not_private(path.lstat()) is None
    except OSError:
        return False


def open_own(path: str | os.PathLike[str], flags: int) -> int:
    """Open a plain file of this user (made with mode 0600 where `flags` say so), as `os.open`; a link is not followed.

    Raises:
        OSError: it can't be opened, or is somebody else's.
    """
    file = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    status = os.fstat(file)
    if stat.S_ISREG(status.st_mode) and is_own(status):
        return file
    os.close(file)
    raise PermissionError(errno.EPERM, "expected a file of this user's own, found another", os.fspath(path))


def is_own(status: os.stat_result) -> bool:
    """Whether a file or folder is this user's, by what the system says of it."""
    return status.st_uid == os.geteuid()


def _why_not_private(status: os.stat_result) -> str | None:
    if stat.S_ISLNK(status.st_mode):
        return "a link"
    if not stat.S_ISDIR(status.st_mode):
        return "no folder"
    if not is_own(status):
        return f"one of another user (id {status.st_uid})"
    # where the sticky bit is set, as in the root of a disk in memory, others may add files, and change none of ours
    if status.st_mode & _OTHERS_WRITE and not status.st_mode & stat.S_ISVTX:
        return f"one that others may write to (mode {stat.S_IMODE(status.st_mode):04o})"
    return None
