"""Bytes of remote files, kept on a node's own disk for all its processes.

Files are kept in *extents*, aligned pieces of some MiB, for each version of a file (URL and ETag) apart. An extent is
fetched by whoever wants it first, while others wait; it appears whole. Processes share a folder and nothing else:
there is no daemon and no shared memory, and any of them may be killed at any moment.

What stays. An epoch goes over all data once, in a new order each time: whatever was used longest ago is what comes
soonest, and a cache that drops it would hold nothing of use. So extents are *kept*, for good, as long as they fill less
than `max_bytes` without `ring_bytes`; the others are *transient*: they pass through a ring that has the rest, and the
oldest goes first. In every later epoch the kept ones are hits, and the ring serves samples whose
neighbours were read a moment ago. Before anything else goes what no living process uses: sets (folders) from which none
has read; and older versions of a file go as soon as a newer one is read.

All extents and parts together never have more than `max_bytes`, and 5 % of the disk stay free. Where the folder can't
be written or the disk is full, bytes come straight from the origin, with one warning.

The folder has to be on a disk (or memory, such as `/dev/shm`) of this machine: NFS and its like are as far away as the
origin, and their locks don't see all that is killed. It belongs to one user.
"""

import atexit
import errno
import hashlib
import logging
import os
import queue
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from cluster import storage
from cluster.cache_account import CacheAccount, lock
from cluster.errors import StorageError
from cluster.storage import FileVersion

EXTENT_BYTES = 2 << 20
"""Of an extent, unless told otherwise: a request to object storage costs about as much time as so many bytes."""
FOLDER = "GAVT_CACHE"
"""Variable: the folder of the node's cache."""
_REST_S = 30.0
_WAIT_S = 60.0  # for an extent that another process fetches; that one may have been stopped
_PLACES = 16_384
_AHEAD = 1024
_TRIES = 100
_log = logging.getLogger(__name__)


def default_folder() -> Path:
    """Where the cache lies unless a setting says otherwise: `$GAVT_CACHE`, else a folder of this user in `$TMPDIR`."""
    place = os.environ.get(FOLDER)
    return Path(place) if place else Path(tempfile.gettempdir()) / f"gavt-cache-{os.getuid()}"


class NodeCache:
    """One process' way to the cache in `folder`; for many threads. Make one in each process, after forks.

    Args:
        folder: on this machine; made if need be.
        max_bytes: of all that is in the folder's extents; smaller than an extent: nothing is kept.
        extent_bytes: of an extent; a miss fetches as much. Smaller where samples near to each other are not read at
            nearly the same time.
        ring_bytes: of `max_bytes`, at least what is read again and again before it is done with; a quarter unless
            given.
        fetchers: threads that `prefetch` uses.

    Attributes:
        hits: extents read that were there, by this process.
        misses: extents read that were not.
        fetched_bytes: bytes that this process took from origins.
    """

    def __init__(
        self,
        folder: str | Path,
        max_bytes: int,
        extent_bytes: int = EXTENT_BYTES,
        *,
        ring_bytes: int | None = None,
        fetchers: int = 8,
    ) -> None:
        self.hits = 0
        self.misses = 0
        self.fetched_bytes = 0
        self._folder = Path(folder).absolute()
        self._max_bytes = max_bytes
        self._extent_bytes = extent_bytes
        self._ring_bytes = ring_bytes
        self._fetchers = fetchers
        self._places: dict[tuple[str, FileVersion], str] = {}
        self._claimed: set[str] = set()
        self._current: set[str] = set()
        self._rests_until = 0.0
        self._warned = False
        self._account: CacheAccount | None = None
        self._lock = threading.Lock()
        self._wanted: queue.Queue[_Wish | None] = queue.Queue(_AHEAD)
        self._pending: set[_Wish] = set()
        self._threads: list[threading.Thread] = []
        atexit.register(self.close)
        self._join()

    def read(self, url: str, version: FileVersion, start: int, length: int) -> bytes:
        """Exactly `length` bytes from byte `start` of a version of a file.

        Raises:
            ChangedFileError, MissingFileError, UnreachableError, StorageError: as `storage.read_part`.
        """
        if start < 0 or length < 0 or start + length > version.size:
            raise StorageError(f"{url}: expected a part of its {version.size} bytes, found {start} + {length}")
        number, skip = divmod(start, self._extent_bytes)
        if skip + length <= self._extent_bytes:
            return self._read(url, version, number, skip, length) if length else b""
        pieces = []
        while length:
            piece = min(length, self._extent_bytes - skip)
            pieces.append(self._read(url, version, number, skip, piece))
            number, skip, length = number + 1, 0, length - piece
        return b"".join(pieces)

    def read_parts(self, parts: Iterable[tuple[str, FileVersion, int, int]]) -> Iterator[bytes | StorageError]:
        """What `read` would return or raise for each `(url, version, start, length)`, in order; several are fetched at
        once. For a batch."""
        parts = list(parts)
        if self._rests():
            yield from self._read_parts_straight(parts)
            return
        for url, version, start, length in parts:
            self.prefetch(url, version, start, length)
        for url, version, start, length in parts:
            try:
                yield self.read(url, version, start, length)
            except StorageError as error:
                yield error

    def prefetch(self, url: str, version: FileVersion, start: int, length: int) -> None:
        """Begin to fetch what is missing of these bytes, and return at once.

        An error is left to the `read` that meets it again; wishes beyond a thousand are forgotten.
        """
        if length <= 0 or self._rests():
            return
        for number in range(start // self._extent_bytes, (start + length - 1) // self._extent_bytes + 1):
            wish = (url, version, number)
            if wish in self._pending or _is_stored(self._extent(url, version, number)):
                continue
            with self._lock:
                if self._wanted.full():
                    return
                self._pending.add(wish)
                self._wanted.put(wish)
                if len(self._threads) < min(self._fetchers, len(self._pending)):
                    self._threads.append(threading.Thread(target=self._fetch_ahead, daemon=True))
                    self._threads[-1].start()

    def discard(self, url: str, version: FileVersion, start: int, length: int) -> None:
        """Forget the extents with these bytes, which turned out wrong: the next read takes them from the origin."""
        last = (start + max(1, length) - 1) // self._extent_bytes
        self._drop([self._extent(url, version, number) for number in range(start // self._extent_bytes, last + 1)])

    def close(self) -> None:
        """End the threads, and let others know that this process uses nothing any more."""
        atexit.unregister(self.close)
        with self._lock:
            while not self._wanted.empty():
                self._wanted.get_nowait()
            for _ in self._threads:
                self._wanted.put(None)
            self._threads.clear()
            if self._account is not None:
                self._account.close()
                self._account = None
            self._rests_until = float("inf")

    def _join(self) -> None:
        try:
            self._account = CacheAccount(self._folder, self._max_bytes, self._extent_bytes, self._ring_bytes)
        except OSError as error:
            self._rest(error)
        else:
            self._places.clear()
            self._claimed.clear()

    def _rests(self) -> bool:
        """Whether the folder is left alone for now."""
        if time.monotonic() < self._rests_until:
            return True
        if self._account is None:
            with self._lock:
                if self._account is None and time.monotonic() >= self._rests_until:
                    self._join()
        return self._account is None

    def _rest(self, error: OSError) -> None:
        self._rests_until = time.monotonic() + _REST_S
        if not self._warned:
            self._warned = True
            _log.warning(
                "%s: can't keep anything here (%s); bytes come straight from where they lie", self._folder, error
            )

    def _count(self, hits: int, misses: int, fetched_bytes: int) -> None:
        with self._lock:
            self.hits += hits
            self.misses += misses
            self.fetched_bytes += fetched_bytes

    def _extent(self, url: str, version: FileVersion, number: int) -> str:
        """Path of an extent, without its ending."""
        place = self._places.get((url, version))
        if place is None:
            place = self._claimed_place(url, version)
        return f"{place}/{number:08d}"

    def _claimed_place(self, url: str, version: FileVersion) -> str:
        """The folder of a version's extents, whose set this process now uses."""
        whole = url if storage.is_remote(url) else os.path.abspath(url)
        folder = whole.rpartition("/")[0]
        self._claim(folder)
        file, of_version = _hash(f"{self._extent_bytes} {whole}", 32), _hash(f"{version.size} {version.etag}", 16)
        place = f"{self._folder}/sets/{_hash(folder, 16)}/{file}/{of_version}"
        if len(self._places) >= _PLACES:
            self._places.clear()
        self._places[url, version] = place
        return place

    def _claim(self, folder: str) -> None:
        if folder in self._claimed or self._account is None:
            return
        try:
            self._account.claim(_hash(folder, 16), folder)
        except OSError as error:
            self._rest(error)
        else:
            self._claimed.add(folder)

    def _read(self, url: str, version: FileVersion, number: int, skip: int, length: int) -> bytes:
        content = self._find(url, version, number, skip, length)
        if content is None and not self._rests():
            try:
                content = self._obtain(url, version, number, skip, length)
            except OSError as error:
                self._rest(error)
        if content is not None:
            return content
        content = storage.read_part(url, number * self._extent_bytes + skip, length, version)
        self._count(0, 1, length)
        return content

    def _find(self, url: str, version: FileVersion, number: int, skip: int, length: int) -> bytes | None:
        """`length` bytes of an extent from byte `skip` of it, if it is there."""
        if self._account is None and self._rests():  # what another user's folder holds is not trusted
            return None
        try:
            content = _stored(self._extent(url, version, number), skip, length)
        except OSError as error:
            self._rest(error)
            return None
        if content is not None:
            self._count(1, 0, 0)
        return content

    def _read_parts_straight(self, parts: list[tuple[str, FileVersion, int, int]]) -> Iterator[bytes | StorageError]:
        """What is there, and the rest from the origin, while nothing can be kept."""
        found: list[bytes | None] = []
        for url, version, start, length in parts:
            number, skip = divmod(start, self._extent_bytes)
            whole = skip + length <= self._extent_bytes
            found.append(self._find(url, version, number, skip, length) if whole else None)
        missing = [part for part, content in zip(parts, found, strict=True) if content is None]
        rest = storage.read_parts((url, start, length, version) for url, version, start, length in missing)
        for content in found:
            if content is not None:
                yield content
                continue
            part = next(rest)
            self._count(0, 1, 0 if isinstance(part, StorageError) else len(part))
            yield part

    def _obtain(self, url: str, version: FileVersion, number: int, skip: int, length: int) -> bytes | None:
        """`length` bytes of an extent from byte `skip` of it, once it is there, whoever fetches it; None where it can't
        be kept, or somebody else has failed to fetch it."""
        account = self._account
        if account is None:
            return None
        extent = self._extent(url, version, number)
        part = _open_part(extent)
        try:
            if not lock(part, _WAIT_S):
                return None
            content = _stored(extent, skip, length)
            status = os.fstat(part)
            if content is not None:
                if status.st_size == 0 and status.st_nlink:  # made after the one that was waited for was done
                    os.unlink(f"{extent}.part")
                self._count(1, 0, 0)
                return content
            if status.st_nlink == 0:
                return None
            if _is_stored(extent):  # but not whole
                account.remove_damaged(extent)
            start = number * self._extent_bytes
            size = min(self._extent_bytes, version.size - start)
            if status.st_size != size and not account.reserve(part, size):  # else a dead one has reserved it
                os.unlink(f"{extent}.part")
                return None
            try:
                content = storage.read_part(url, start, size, version)
                self._count(0, 1, size)
                self._keep(account, extent, part, content)
            except BaseException:
                account.release(extent, size)
                raise
            return content[skip : skip + length]
        finally:
            os.close(part)

    def _keep(self, account: CacheAccount, extent: str, part: int, content: bytes) -> None:
        """Store an extent that came from the origin, or rest."""
        try:
            written = 0
            while written < len(content):
                written += os.pwrite(part, memoryview(content)[written:], written)
            account.publish(extent, len(content))
        except OSError as error:
            account.release(extent, len(content))
            self._rest(error)
            return
        self._forget_older(account, extent.rpartition("/")[0])

    def _forget_older(self, account: CacheAccount, place: str) -> None:
        """Remove other versions of a file of which the origin has just confirmed this one."""
        if place in self._current:
            return
        if len(self._current) >= _PLACES:
            self._current.clear()
        self._current.add(place)
        file, _, current = place.rpartition("/")
        for version in _names(file):
            if version != current:
                names = _names(f"{file}/{version}")
                account.remove([f"{file}/{version}/{name.partition('.')[0]}" for name in names])

    def _drop(self, extents: list[str]) -> None:
        if self._rests() or self._account is None:
            return
        try:
            self._account.remove(extents)
        except OSError as error:
            self._rest(error)

    def _fetch_ahead(self) -> None:
        while (wish := self._wanted.get()) is not None:
            url, version, number = wish
            try:
                if not self._rests():
                    self._obtain(url, version, number, 0, 0)
            except StorageError as error:
                _log.debug("%s; left to the one who reads it", error)
            except OSError as error:
                self._rest(error)
            finally:
                self._pending.discard(wish)


_Wish = tuple[str, FileVersion, int]
"""URL, version, number of an extent."""


def _hash(text: str, digits: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:digits]


def _stored(extent: str, skip: int, length: int) -> bytes | None:
    """Bytes of an extent; None where it isn't there, or ends before."""
    for ending in (".kept", ".ring"):
        try:
            file = os.open(extent + ending, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            content = os.pread(file, length, skip)
        finally:
            os.close(file)
        if len(content) == length:
            return content
    return None


def _is_stored(extent: str) -> bool:
    return os.path.exists(f"{extent}.kept") or os.path.exists(f"{extent}.ring")


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _open_part(extent: str) -> int:
    for _ in range(_TRIES):  # who evicts the last extent of a folder removes the folder
        with suppress(FileNotFoundError):
            return os.open(f"{extent}.part", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with suppress(FileNotFoundError):
            os.makedirs(extent.rpartition("/")[0], mode=0o700, exist_ok=True)
    raise FileNotFoundError(errno.ENOENT, "its folder vanishes again and again", extent)
