"""Files locked by one process at a time; a lock goes with the process that holds it.

Some file systems know no locks (a network file system without its lock service, some of FUSE's). There nobody can say
who holds what: `try_lock` gives None, with one warning, and whoever asked goes on without.
"""

import errno
import fcntl
import logging
import os
import stat
import time
from pathlib import Path

_LONGEST_NAP_S = 0.01
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
_log = logging.getLogger(__name__)
_warned = False


def open_lock_file(path: str | os.PathLike[str]) -> int:
    """Open a file to lock it, made if need be; gives its descriptor.

    Raises:
        OSError: it can't be opened, or is something else that has the name: a pipe, on which opening would wait for
            somebody to write, a link, a folder.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        file = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise _no_file(path) from None
        raise
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise _no_file(path)
    return file


def try_lock(file: int) -> bool | None:
    """Lock an open file as its only user: True, it is locked; False, somebody else has it; None, its file system knows
    no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        _warn(file, error)
        return None
    return True


def is_locked(path: Path) -> bool:
    """Whether somebody has locked a file that may not be there."""
    if not path.is_file():
        return False
    file = open_lock_file(path)
    try:
        return try_lock(file) is False
    finally:
        os.close(file)


def wait_for_lock(file: int) -> None:
    """Lock an open file as its only user, however long that takes; without a lock where its file system knows none."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        _warn(file, error)


def lock_within(file: int, limit_s: float) -> bool:
    """Lock an open file as its only user; whether that was possible within a time, for who holds it may be stopped.

    Raises:
        OSError: its file system knows no locks.
    """
    end, nap_s = time.monotonic() + limit_s, 0.0002
    while True:
        got = try_lock(file)
        if got is None:
            raise OSError(errno.ENOLCK, "its file system knows no locks")
        if got or time.monotonic() > end:
            return got
        time.sleep(nap_s)
        nap_s = min(_LONGEST_NAP_S, nap_s * 1.5)


def remove_if_nobodys(path: str) -> bool:
    """Remove a file that nobody has locked; whether it is gone."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return True
    try:
        if not try_lock(file):
            return False
        if os.fstat(file).st_nlink == 0:
            return False  # its owner removed it meanwhile; what has its name now is another's
        os.unlink(path)
    finally:
        os.close(file)
    return True


def _no_file(path: str | os.PathLike[str]) -> OSError:
    what = "a link" if Path(path).is_symlink() else "a folder" if Path(path).is_dir() else "a pipe, socket or device"
    return OSError(errno.EINVAL, f"expected a file to lock, found {what}", os.fspath(path))


def _warn(file: int, error: OSError) -> None:
    global _warned
    if not _warned:
        _warned = True
        _log.warning(
            "%s: its file system knows no locks (%s); nothing keeps two processes apart that use it at once",
            _name(file),
            error.strerror,
        )


def _name(file: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{file}")
    except OSError:
        return "a file"
