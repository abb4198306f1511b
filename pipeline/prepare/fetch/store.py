"""Where downloads are kept, or pass through.

STORE/ab/abcd….mp4              what was downloaded, whole; the name is the SHA-256 of the source's text
STORE/partial/abcd….mp4/        downloads under way (a store in a folder only)
STORE/partial/abcd….mp4/lock    held by the process that downloads
"""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from cluster import storage
from cluster.file_lock import open_lock_file, try_lock
from pipeline.prepare.fetch.sources import store_name

_LOOK_EVERY_S = 0.2


class Store:
    """Whole downloads by their sources.

    Args:
        place: folder or prefix that keeps them; None keeps none.
        scratch: local folder for downloads under way, and for files that are not kept; emptied by the caller.
    """

    def __init__(self, place: str | None, scratch: Path) -> None:
        self._place = place
        self._scratch = scratch
        self._folder: Path | None = None
        if place is not None and not storage.is_remote(place):
            self._folder = Path(place.removeprefix("file://")).absolute()

    def find(self, source: str) -> str | None:
        """Path or URL of a source that was downloaded before."""
        if self._place is None:
            return None
        url = storage.join(str(self._folder or self._place), store_name(source))
        return url if storage.exists(url) else None

    @asynccontextmanager
    async def partial(self, source: str) -> AsyncIterator[Path]:
        """The folder in which a source is downloaded; nobody else has it meanwhile.

        Who waited for somebody else's download finds the result with `find`.
        """
        name = store_name(source).rpartition("/")[2]
        private = self._scratch / "partial" / name
        if self._folder is None:
            private.mkdir(parents=True, exist_ok=True)
            yield private
            return
        shared = self._folder / "partial" / name
        lock = -1
        while lock < 0:
            shared.mkdir(parents=True, exist_ok=True)
            lock = open_lock_file(shared / "lock")
            try:
                alone = await _locked(lock)
            except BaseException:
                os.close(lock)
                raise
            if alone and not _is_at(lock, shared / "lock"):  # who had it removed the folder at the end
                os.close(lock)
                lock = -1
        try:
            yield shared if alone else private
        finally:
            os.close(lock)

    def keep(self, source: str, folder: Path, content: Path) -> str:
        """Take a whole download out of its `folder` and into the store; gives the path from where it can be read."""
        name = store_name(source)
        target = (self._folder or self._scratch) / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if self._folder is not None:
            with content.open("rb") as file:
                os.fsync(file.fileno())
        if content.is_relative_to(target.parent.parent):
            content.replace(target)
        else:
            storage.upload(content, target)
        if self._place is not None and self._folder is None:
            storage.upload(target, storage.join(self._place, name))
        shutil.rmtree(folder)
        return str(target)

    def release(self, source: str) -> None:
        """Remove what lies in the scratch folder of a source."""
        name = store_name(source)
        (self._scratch / name).unlink(missing_ok=True)
        shutil.rmtree(self._scratch / "partial" / name.rpartition("/")[2], ignore_errors=True)


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


async def _locked(file: int) -> bool:
    """Wait for the lock; False where the file system knows none."""
    while (got := try_lock(file)) is False:
        await asyncio.sleep(_LOOK_EVERY_S)
    return bool(got)
