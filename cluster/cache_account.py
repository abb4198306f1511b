"""How many bytes a node's cache holds, who uses what, and what goes when room is needed; see `cluster.node_cache`.

    FOLDER/account                  one line: bytes in use, bytes kept, where the ring begins; flocked for moments
    FOLDER/ring                     the transient extents, oldest first
    FOLDER/users/PID-RANDOM         one for each process, flocked while it lives: the sets that it uses
    FOLDER/sets/SET/FILE/VERSION/   extents: NUMBER.kept, NUMBER.ring (transient), NUMBER.part (being fetched, flocked)

Every change of the account is made so that a process killed in the middle of it leaves too many bytes on the account,
never too few. A process that died without a goodbye is noticed by its file in `users`, which is flocked no longer; the
account is then counted anew from what is there.
"""

import errno
import fcntl
import os
import secrets
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_BLOCK = 4096
_FREE = 0.05  # of the disk, left to others
_LOOK_S = 5.0  # between two looks at who lives
_LOCK_S = 30.0
_LONGEST_NAP_S = 0.01
_LINE = 160
_RECORD = 16 + 1 + 32 + 1 + 16 + 1 + 8 + 1
_COMPACT = _RECORD * 16_384
_DOUBTFUL_S = 120.0  # a kernel writes what is older to disk (30 s, unless it is told otherwise)


@dataclass
class _Totals:
    """What the account says: bytes in use (parts included), bytes of kept extents, first byte of `ring` that counts."""

    used: int
    kept: int
    head: int


class CacheAccount:
    """The account of one cache folder, shared by all processes of the node.

    Args:
        folder: of the cache; made if need be.
        max_bytes: of all extents and parts together.
        extent_bytes: of a whole extent.
        ring_bytes: of `max_bytes`, for transient extents; a quarter, unless given, and never less than an extent.

    Raises:
        OSError: the folder can't be written, or belongs to somebody else.
    """

    def __init__(self, folder: Path, max_bytes: int, extent_bytes: int, ring_bytes: int | None = None) -> None:
        self._folder = os.fspath(folder)
        self._sets = f"{self._folder}/sets"
        self._max_bytes = max_bytes
        ring_bytes = max_bytes // 4 if ring_bytes is None else ring_bytes
        self._kept_bytes = max(0, max_bytes - max(ring_bytes, _rounded(extent_bytes)))
        self._victims: Iterator[str] = iter(())
        self._claimed: set[str] = set()
        self._looked = -float("inf")  # monotonic time
        self._process = os.getpid()
        self._user = -1
        self._user_path = ""
        with self._open():
            pass  # makes the folder
        if os.stat(self._folder).st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, "belongs to another user", self._folder)
        self._join()

    def close(self) -> None:
        """Say goodbye: others then need not count anew."""
        if self._user >= 0:
            if self._process == os.getpid():  # else a fork's
                with suppress(OSError):
                    os.unlink(self._user_path)
            os.close(self._user)
            self._user = -1

    def claim(self, name: str, url: str) -> None:
        """Say that this process uses the set `name`, whose folder is `url`, for as long as it lives."""
        os.write(self._user, f"{name} {url}\n".encode())
        self._claimed.add(name)

    def reserve(self, part: int, size: int) -> bool:
        """Make room for `size` bytes of the empty, flocked part file `part`; whether there is room for it."""
        need = _rounded(size)
        with self._open() as account:
            totals = self._totals(account)
            spare = self._spare()
            while totals.used + need > min(self._max_bytes, totals.used + spare):
                freed = self._evict(account, totals)
                if freed is None:
                    self._save(account, totals)
                    return False
                spare += freed
            totals.used += need
            self._save(account, totals)
            os.ftruncate(part, size)
        return True

    def publish(self, extent: str, size: int) -> None:
        """Show the part of an extent (its path without the ending) to everybody: kept as long as there is room."""
        need = _rounded(size)
        with self._open() as account:
            totals = self._totals(account)
            if totals.kept + need <= self._kept_bytes:
                os.rename(f"{extent}.part", f"{extent}.kept")
                totals.kept += need
            else:
                with self._ring() as ring:
                    end = os.fstat(ring).st_size // _RECORD * _RECORD  # a disk that ran full may have cut the last one
                    os.pwrite(ring, self._record(extent), end)
                os.rename(f"{extent}.part", f"{extent}.ring")
            self._save(account, totals)

    def release(self, extent: str, size: int) -> None:
        """Remove the part of an extent, which was reserved."""
        with self._open() as account:
            totals = self._totals(account)
            if _unlink(f"{extent}.part") is not None:
                totals.used -= _rounded(size)
            self._save(account, totals)

    def remove(self, extents: list[str]) -> None:
        """Remove extents (paths without ending), kept or transient."""
        with self._open() as account:
            totals = self._totals(account)
            for extent in extents:
                self._remove(totals, f"{extent}.kept")
                self._remove(totals, f"{extent}.ring")
            self._save(account, totals)

    def remove_damaged(self, extent: str) -> None:
        """Remove an extent that hasn't its size any more, and count anew: the account has another one."""
        with self._open() as account:
            for ending in (".kept", ".ring"):
                _unlink(extent + ending)
            self._save(account, self._count(account))

    def _join(self) -> None:
        """Make this process known; whoever finds traces of a death counts anew."""
        with self._open() as account:
            os.makedirs(f"{self._folder}/users", exist_ok=True)
            path = f"{self._folder}/users/{os.getpid()}-{secrets.token_hex(4)}"
            user = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
            fcntl.flock(user, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._user, self._user_path = user, path
            _, died = self._look()
            self._looked = -float("inf")
            totals = self._count(account) if died else self._totals(account)
            while totals.used > self._max_bytes and self._evict(account, totals) is not None:
                pass
            self._save(account, totals)

    @contextmanager
    def _open(self) -> Iterator[int]:
        """The account's file, flocked. Opened anew each time: an open file that a fork shares locks nobody out."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        try:
            account = os.open(f"{self._folder}/account", flags, 0o600)
        except FileNotFoundError:
            os.makedirs(self._folder, mode=0o700, exist_ok=True)
            account = os.open(f"{self._folder}/account", flags, 0o600)
        try:
            if not lock(account, _LOCK_S):
                raise TimeoutError(errno.ETIMEDOUT, "locked by a process that does not move", self._folder)
            yield account
        finally:
            os.close(account)

    def _totals(self, account: int) -> _Totals:
        words = os.pread(account, _LINE, 0).decode("ascii", "replace").split()
        if len(words) == 5 and words[4] == _check(words[:4]) and words[3] == _boot():
            return _Totals(int(words[0]), int(words[1]), int(words[2]))
        return self._count(account, after_start=True)

    def _save(self, account: int, totals: _Totals) -> None:
        words = [str(max(0, totals.used)), str(max(0, totals.kept)), str(totals.head), _boot()]
        os.pwrite(account, " ".join([*words, _check(words)]).ljust(_LINE - 1).encode() + b"\n", 0)

    def _spare(self) -> int:
        """Bytes that may still be written before the disk is as full as it may be; negative when it is fuller."""
        disk = os.statvfs(self._folder)
        return int((disk.f_bavail - _FREE * disk.f_blocks) * disk.f_frsize)

    def _evict(self, account: int, totals: _Totals) -> int | None:
        """Remove what is needed least: of sets nobody uses, then the oldest transient extent; the bytes that it freed,
        None where nothing is left to remove."""
        if time.monotonic() - self._looked > _LOOK_S:
            used, died = self._look()
            if died:
                counted = self._count(account)
                totals.used, totals.kept, totals.head = counted.used, counted.kept, counted.head
            self._victims = self._extents({name for name in _names(self._sets) if name not in used})
        for path in self._victims:
            if freed := self._remove(totals, path):
                return freed
        with self._ring() as ring:
            while len(record := os.pread(ring, _RECORD, totals.head)) == _RECORD:
                totals.head += _RECORD
                if freed := self._remove(totals, f"{self._sets}/{record.decode().strip()}.ring"):
                    self._compact(account, ring, totals)
                    return freed
        if totals.kept > self._kept_bytes:  # the limit was lowered, or kept extents were made with a larger one
            for path in self._extents(set(_names(self._sets))):
                if path.endswith(".kept") and (freed := self._remove(totals, path)):
                    return freed
        return None

    def _remove(self, totals: _Totals, path: str) -> int:
        size = _unlink(path)
        if size is None:
            return 0
        totals.used -= _rounded(size)
        if path.endswith(".kept"):
            totals.kept -= _rounded(size)
        with suppress(OSError):  # they are not empty yet, mostly
            for _ in range(3):
                path = path.rpartition("/")[0]
                os.rmdir(path)
        return _rounded(size)

    def _look(self) -> tuple[set[str], bool]:
        """The sets that living processes use, and whether a process has died without a goodbye."""
        self._looked = time.monotonic()
        used, died = set(self._claimed), False
        for name in _names(f"{self._folder}/users"):
            path = f"{self._folder}/users/{name}"
            with suppress(FileNotFoundError):
                user = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    fcntl.flock(user, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    with open(user, "rb", closefd=False) as lines:
                        used.update(line.decode().partition(" ")[0] for line in lines)
                else:
                    os.unlink(path)
                    died = True
                finally:
                    os.close(user)
        return used, died

    def _extents(self, sets: set[str]) -> Iterator[str]:
        """Paths of the extents of some sets."""
        for name in sorted(sets):
            for folder, _, files in os.walk(f"{self._sets}/{name}"):
                for file in files:
                    if not file.endswith(".part"):
                        yield f"{folder}/{file}"

    def _count(self, account: int, after_start: bool = False) -> _Totals:
        """Count what is there, remove the parts of the dead, and put the ring in order.

        After a start of the machine, the extents that were written last are removed too: if it ended by a power cut,
        they may have their length and not their bytes.
        """
        os.pwrite(account, b" " * _LINE, 0)  # killed in the middle: the next one counts again
        found: list[tuple[int, str, int]] = []
        for folder, _, names in os.walk(self._sets, topdown=False):
            for path in (f"{folder}/{name}" for name in names):
                if not (path.endswith(".part") and _unlink_if_nobodys(path)):
                    with suppress(FileNotFoundError):
                        status = os.stat(path)
                        found.append((status.st_mtime_ns, path, _rounded(status.st_size)))
            with suppress(OSError):  # most are not empty
                os.rmdir(folder)
        totals = _Totals(0, 0, 0)
        doubtful_ns = max((time_ns for time_ns, _, _ in found), default=0) - int(_DOUBTFUL_S * 1e9)
        ring = []
        for time_ns, path, size in sorted(found):
            if after_start and time_ns > doubtful_ns and not path.endswith(".part"):
                _unlink(path)
                continue
            totals.used += size
            if path.endswith(".kept"):
                totals.kept += size
            elif path.endswith(".ring"):
                ring.append(self._record(path.removesuffix(".ring")))
        with open(f"{self._folder}/ring.part", "wb") as file:
            file.writelines(ring)
        os.replace(f"{self._folder}/ring.part", f"{self._folder}/ring")
        return totals

    def _compact(self, account: int, ring: int, totals: _Totals) -> None:
        """Drop the records of `ring` that count no longer, once they are many."""
        if totals.head < _COMPACT:
            return
        os.pwrite(account, b" " * _LINE, 0)
        with open(f"{self._folder}/ring.part", "wb") as file:
            while piece := os.pread(ring, _COMPACT, totals.head):
                file.write(piece)
                totals.head += len(piece)
        os.replace(f"{self._folder}/ring.part", f"{self._folder}/ring")
        totals.head = 0

    @contextmanager
    def _ring(self) -> Iterator[int]:
        ring = os.open(f"{self._folder}/ring", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            yield ring
        finally:
            os.close(ring)

    def _record(self, extent: str) -> bytes:
        return f"{extent.removeprefix(self._sets + '/')}\n".encode()


def lock(file: int, limit_s: float) -> bool:
    """Lock an open file as its only user; whether that was possible within a time, for who holds it may be stopped."""
    end, nap_s = time.monotonic() + limit_s, 0.0002
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                return False
            time.sleep(nap_s)
            nap_s = min(_LONGEST_NAP_S, nap_s * 1.5)
        else:
            return True


def _rounded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _check(words: list[str]) -> str:
    return f"{zlib.crc32(' '.join(words).encode()):08x}"


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _unlink(path: str) -> int | None:
    """Remove a file; its size, None if it wasn't there."""
    try:
        size = os.stat(path).st_size
        os.unlink(path)
    except FileNotFoundError:
        return None
    return size


def _unlink_if_nobodys(part: str) -> bool:
    """Remove a part that nobody has flocked; whether it is gone."""
    try:
        file = os.open(part, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(part)
    except BlockingIOError:
        return False
    finally:
        os.close(file)
    return True


@lru_cache(maxsize=1)
def _boot() -> str:
    """What tells one start of the machine from another."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return "unknown"
