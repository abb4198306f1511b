"""Local scratch folders that don't outlive their process: what a killed one left is removed by the next."""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_LOCK = "lock"
_YOUNG_S = 60  # a process takes its lock a moment after it made the folder


@contextmanager
def scratch_folder(prefix: str, base: str | None = None) -> Iterator[Path]:
    """A new folder below `base` (None: the system's for temporary files), removed at the end of the block.

    Folders of the same prefix whose processes were killed are removed on the way; their locks went with them.
    """
    place = Path(base or tempfile.gettempdir())
    _sweep(place, prefix)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
    lock = os.open(folder / _LOCK, os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _sweep(place: Path, prefix: str) -> None:
    for path in place.glob(f"{prefix}*/{_LOCK}"):
        with suppress(OSError):  # in use, somebody else's, or just removed by another process
            if time.time() - path.stat().st_mtime < _YOUNG_S:
                continue
            with path.open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path.parent, ignore_errors=True)
