"""How many bytes a node's cache holds, and what goes when room is needed.

Every change of the account is made so that a process killed in the middle of it leaves too many bytes on the account,
never too few. A process that died without a goodbye is noticed by its file in `users`, which is flocked no longer; the
account is then counted anew from what is there.
"""

import errno
import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from cluster.file_lock import lock_within, remove_if_nobodys
from cluster.node_cache.extent_files import STORED, names, rounded, unlink
from cluster.node_cache.ring import MANY, Ring
from cluster.node_cache.totals import CacheTotals, forget_totals, read_totals, write_totals
from cluster.node_cache.users import Users
from cluster.private_folder import make_private, open_own, private_folder

_FREE = 0.05  # of the disk, left to others
_LOOK_S = 5.0  # between two looks at who lives
_LOCK_S = 30.0
_DOUBTFUL_S = 120.0  # a kernel writes what is older to disk (30 s, unless it is told otherwise)


class CacheAccount:
    """The account of one cache folder, shared by all processes of the node.

    Args:
        folder: of the cache; made if need be.
        max_bytes: of all extents and parts together.
        extent_bytes: of a whole extent.
        ring_bytes: of `max_bytes`, for transient extents; a quarter, unless given, and never less than an extent.

    Raises:
        StorageError: the folder can't be made, or others can change what is in it.
        OSError: it can't be written.
    """

    def __init__(self, folder: Path, max_bytes: int, extent_bytes: int, ring_bytes: int | None = None) -> None:
        self._folder = os.fspath(folder)
        self._sets = f"{self._folder}/sets"
        self._max_bytes = max_bytes
        ring_bytes = max_bytes // 4 if ring_bytes is None else ring_bytes
        self._kept_bytes = max(0, max_bytes - max(ring_bytes, rounded(extent_bytes)))
        self._ring = Ring(self._folder)
        self._users = Users(self._folder)
        self._victims: Iterator[str] = iter(())
        self._looked = -float("inf")  # monotonic time
        for place in (folder, folder / "sets", folder / "users"):
            private_folder(place)
        try:
            self._join()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Say goodbye: others then need not count anew."""
        self._users.leave()

    def claim(self, name: str, url: str) -> None:
        """Say that this process uses the set `name`, whose folder is `url`, for as long as it lives."""
        self._users.claim(name, url)

    def reserve(self, part: int, size: int) -> bool:
        """Make room for `size` bytes of the empty, flocked part file `part`; whether there is room for it."""
        need = rounded(size)
        with self._open() as account:
            totals = self._totals(account)
            spare = self._spare()
            while totals.used + need > min(self._max_bytes, totals.used + spare):
                freed = self._evict(account, totals)
                if freed is None:
                    write_totals(account, totals)
                    return False
                spare += freed
            totals.used += need
            write_totals(account, totals)
            os.ftruncate(part, size)
        return True

    def publish(self, extent: str, size: int) -> None:
        """Show the part of an extent (its path without the ending) to everybody: kept as long as there is room."""
        need = rounded(size)
        with self._open() as account:
            totals = self._totals(account)
            if totals.kept + need <= self._kept_bytes:
                os.rename(f"{extent}.part", f"{extent}.kept")
                totals.kept += need
            else:
                self._ring.append(self._name(extent))
                os.rename(f"{extent}.part", f"{extent}.ring")
            write_totals(account, totals)

    def release(self, extent: str, size: int) -> None:
        """Remove the part of an extent, which was reserved."""
        with self._open() as account:
            totals = self._totals(account)
            if unlink(f"{extent}.part") is not None:
                totals.used -= rounded(size)
            write_totals(account, totals)

    def remove(self, extents: list[str]) -> None:
        """Remove extents (paths without ending), kept or transient."""
        with self._open() as account:
            totals = self._totals(account)
            for extent in extents:
                for ending in STORED:
                    self._remove(totals, extent + ending)
            write_totals(account, totals)

    def remove_damaged(self, extent: str) -> None:
        """Remove an extent that hasn't its size any more, and count anew: the account has another one."""
        with self._open() as account:
            for ending in STORED:
                unlink(extent + ending)
            write_totals(account, self._count(account))

    def _join(self) -> None:
        """Make this process known; whoever finds traces of a death counts anew."""
        with self._open() as account:
            self._users.join()
            _, died = self._users.look()
            totals = self._count(account) if died else self._totals(account)
            while totals.used > self._max_bytes and self._evict(account, totals) is not None:
                pass
            write_totals(account, totals)

    @contextmanager
    def _open(self) -> Iterator[int]:
        """The account's file, flocked. Opened anew each time: an open file that a fork shares locks nobody out."""
        flags = os.O_RDWR | os.O_CREAT
        try:
            account = open_own(f"{self._folder}/account", flags)
        except FileNotFoundError:
            make_private(self._folder)
            account = open_own(f"{self._folder}/account", flags)
        try:
            if not lock_within(account, _LOCK_S):
                raise TimeoutError(errno.ETIMEDOUT, "locked by a process that does not move", self._folder)
            yield account
        finally:
            os.close(account)

    def _totals(self, account: int) -> CacheTotals:
        return read_totals(account) or self._count(account, after_start=True)

    def _spare(self) -> int:
        """Bytes that may still be written before the disk is as full as it may be; negative when it is fuller."""
        disk = os.statvfs(self._folder)
        return int((disk.f_bavail - _FREE * disk.f_blocks) * disk.f_frsize)

    def _evict(self, account: int, totals: CacheTotals) -> int | None:
        """Remove what is needed least: of sets nobody uses, then the oldest transient extent; the bytes that it freed,
        None where nothing is left to remove."""
        if time.monotonic() - self._looked > _LOOK_S:
            self._looked = time.monotonic()
            used, died = self._users.look()
            if died:
                counted = self._count(account)
                totals.used, totals.kept, totals.head = counted.used, counted.kept, counted.head
            self._victims = self._extents({name for name in names(self._sets) if name not in used})
        for path in self._victims:
            if freed := self._remove(totals, path):
                return freed
        with closing(self._ring.oldest(totals.head)) as oldest:
            for name, totals.head in oldest:
                if freed := self._remove(totals, f"{self._sets}/{name}.ring"):
                    self._compact(account, totals)
                    return freed
        if totals.kept > self._kept_bytes:  # the limit was lowered, or kept extents were made with a larger one
            for path in self._extents(set(names(self._sets))):
                if path.endswith(".kept") and (freed := self._remove(totals, path)):
                    return freed
        return None

    def _remove(self, totals: CacheTotals, path: str) -> int:
        size = unlink(path)
        if size is None:
            return 0
        totals.used -= rounded(size)
        if path.endswith(".kept"):
            totals.kept -= rounded(size)
        with suppress(OSError):  # they are not empty yet, mostly
            for _ in range(3):
                path = path.rpartition("/")[0]
                os.rmdir(path)
        return rounded(size)

    def _extents(self, sets: set[str]) -> Iterator[str]:
        """Paths of the extents of some sets."""
        for name in sorted(sets):
            for folder, _, files in os.walk(f"{self._sets}/{name}"):
                for file in files:
                    if not file.endswith(".part"):
                        yield f"{folder}/{file}"

    def _count(self, account: int, after_start: bool = False) -> CacheTotals:
        """Count what is there, remove the parts of the dead, and put the ring in order.

        After a start of the machine, the extents that were written last are removed too: if it ended by a power cut,
        they may have their length and not their bytes.
        """
        forget_totals(account)
        found: list[tuple[int, str, int]] = []
        for folder, _, files in os.walk(self._sets, topdown=False):
            for path in (f"{folder}/{file}" for file in files):
                if not (path.endswith(".part") and remove_if_nobodys(path)):
                    with suppress(FileNotFoundError):
                        status = os.lstat(path)
                        found.append((status.st_mtime_ns, path, rounded(status.st_size)))
            if folder != self._sets:  # in which another process may be about to make a set
                with suppress(OSError):  # most are not empty
                    os.rmdir(folder)
        totals = CacheTotals(0, 0, 0)
        doubtful_ns = max((time_ns for time_ns, _, _ in found), default=0) - int(_DOUBTFUL_S * 1e9)
        ring = []
        for time_ns, path, size in sorted(found):
            if after_start and time_ns > doubtful_ns and not path.endswith(".part"):
                unlink(path)
                continue
            totals.used += size
            if path.endswith(".kept"):
                totals.kept += size
            elif path.endswith(".ring"):
                ring.append(self._name(path.removesuffix(".ring")))
        self._ring.rewrite(ring)
        return totals

    def _compact(self, account: int, totals: CacheTotals) -> None:
        """Drop the records of the ring that count no longer, once they are many."""
        if totals.head >= MANY:
            forget_totals(account)
            self._ring.drop(totals.head)
            totals.head = 0

    def _name(self, extent: str) -> str:
        return extent.removeprefix(f"{self._sets}/")
