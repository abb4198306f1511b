"""Local scratch folders that don't outlive their process: what a killed one left is removed by the next.

They lie in `$TMPDIR`, the system's folder for temporary files where that is not set, and only their user may enter.
"""

import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cluster.errors import StorageError
from cluster.file_lock import open_lock_file, try_lock
from cluster.os_errors import OF_THE_DISK, why
from cluster.private_folder import is_own

_LOCK = "lock"
_YOUNG_S = 60  # a process takes its lock a moment after it made the folder


def temporary_place() -> Path:
    """Where temporary files belong: what `TMPDIR` (or `TEMP`, or `TMP`) names, else the system's place. Where what is
    named can't be used, Python would go elsewhere in silence.

    Raises:
        StorageError: nothing is named, and the system has no such place.
    """
    named = next(filter(None, map(os.environ.get, ("TMPDIR", "TEMP", "TMP"))), None)
    try:
        return Path(named or tempfile.gettempdir()).absolute()
    except FileNotFoundError as error:
        raise StorageError(f"no folder for temporary files, name one by TMPDIR: {why(error)}") from None


@contextmanager
def scratch_folder(prefix: str, base: str | os.PathLike[str] | None = None) -> Iterator[Path]:
    """A new folder below `base` (None: below `temporary_place`), removed at the end of the block. It holds a file
    `lock`.

    Folders of the same prefix whose processes were killed are removed on the way; their locks went with them.

    Raises:
        StorageError: it can't be made, or the disk ran full in the block.
    """
    place = temporary_place() if base is None else Path(base)
    sweep(place, prefix)
    try:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
    except OSError as error:
        raise _unusable(place, error) from None
    lock = -1
    try:
        lock = open_lock_file(folder / _LOCK)
        try_lock(lock)
        yield folder
    except OSError as error:
        if error.errno not in OF_THE_DISK:
            raise
        raise _unusable(place, error) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock >= 0:
            os.close(lock)


def _unusable(place: Path, error: OSError) -> StorageError:
    return StorageError(
        f"{place}: expected a folder for temporary files that can be written to, found: {why(error)}; make room "
        "there, or name another one by TMPDIR"
    )


def sweep(place: Path, prefix: str, lock_name: str = _LOCK) -> None:
    """Remove what killed processes left: folders of this user with a lock that nobody holds."""
    for folder in place.glob(f"{prefix}*"):
        with suppress(OSError):  # in use, somebody else's, or just removed by another process
            status = folder.lstat()
            if not stat.S_ISDIR(status.st_mode) or not is_own(status):
                continue
            age_s = time.time() - (folder / lock_name).lstat().st_mtime
            if age_s < _YOUNG_S:
                continue
            lock = open_lock_file(folder / lock_name)
            try:
                if try_lock(lock):  # where there are no locks nobody knows who lives
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
