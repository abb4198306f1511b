"""One process' way to a node's cache."""

import atexit
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from cluster import storage
from cluster.errors import StorageError
from cluster.file_lock import lock_within
from cluster.node_cache.account import CacheAccount
from cluster.node_cache.extent_files import is_stored, names, open_part, read_extent, read_whole
from cluster.node_cache.places import MOST
from cluster.node_cache.prefetcher import Prefetcher, Wish
from cluster.node_cache.shared_folder import SharedFolder
from cluster.storage import FileVersion

EXTENT_BYTES = 2 << 20
"""Of an extent, unless told otherwise: a request to object storage costs about as much time as so many bytes."""
_WAIT_S = 60.0  # for an extent that another process fetches; that one may have been stopped
_log = logging.getLogger(__name__)


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
        self._extent_bytes = extent_bytes
        self._folder = SharedFolder(folder, max_bytes, extent_bytes, ring_bytes)
        self._prefetcher = Prefetcher(self._fetch, fetchers)
        self._current: set[str] = set()
        self._lock = threading.Lock()
        atexit.register(self.close)

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

    def read_parts(
        self, parts: Iterable[tuple[str, FileVersion, int, int]], most: float = float("inf")
    ) -> Iterator[bytes | StorageError]:
        """What `read` would return or raise for each `(url, version, start, length)`, in order; several are fetched at
        once. For a batch.

        Args:
            most: where the extents have more bytes than this, what is not there is fetched by itself, and not kept: it
                is here sooner.
        """
        parts = list(parts)
        if self._folder.rests() or self._bytes_of_extents(parts) > most:
            yield from self._read_parts_straight(parts)
            return
        for url, version, start, length in parts:
            self.prefetch(url, version, start, length)
        for url, version, start, length in parts:
            try:
                yield self.read(url, version, start, length)
            except StorageError as error:
                yield error

    def _bytes_of_extents(self, parts: list[tuple[str, FileVersion, int, int]]) -> int:
        size, wanted = self._extent_bytes, set()
        for url, version, start, length in parts:
            wanted |= {(url, version.size, number) for number in range(start // size, -(-(start + length) // size))}
        return sum(min(size, file_bytes - number * size) for _, file_bytes, number in wanted)

    def once(self, url: str, what: str, tag: str, ask: Callable[[], bytes], check: Callable[[bytes], object]) -> bytes:
        """What `ask` says of a file, a few bytes or all of it; asked for once for all processes of the node.

        Args:
            what: of the file is asked for.
            tag: the answer holds as long as this is the same; with another one it is asked for anew.
            check: raises a ValueError where that is no answer: what was kept is then asked for anew.

        Raises:
            StorageError: as `ask` does.
        """
        extent, content = self._folder.extent(f"{url} {what}", FileVersion(0, tag), 0), None
        if not self._folder.rests():
            try:
                content = self._ask_once(extent, ask)
            except OSError as error:
                self._folder.rest(error)
        if content is not None:
            try:
                check(content)
            except ValueError:
                self._remove([extent])
            else:
                return content
        return ask()

    def prefetch(self, url: str, version: FileVersion, start: int, length: int) -> None:
        """Begin to fetch what is missing of these bytes, and return at once.

        An error is left to the `read` that meets it again; wishes beyond a thousand are forgotten.
        """
        if length <= 0 or self._folder.rests():
            return
        for number in range(start // self._extent_bytes, (start + length - 1) // self._extent_bytes + 1):
            wish = (url, version, number)
            if wish in self._prefetcher.pending or is_stored(self._folder.extent(url, version, number)):
                continue
            if not self._prefetcher.begin(wish):
                return

    def discard(self, url: str, version: FileVersion, start: int, length: int) -> None:
        """Forget the extents with these bytes, which turned out wrong: the next read takes them from the origin."""
        last = (start + max(1, length) - 1) // self._extent_bytes
        numbers = range(start // self._extent_bytes, last + 1)
        self._remove([self._folder.extent(url, version, number) for number in numbers])

    def _remove(self, extents: list[str]) -> None:
        account = None if self._folder.rests() else self._folder.account
        if account is None:
            return
        try:
            account.remove(extents)
        except OSError as error:
            self._folder.rest(error)

    def close(self) -> None:
        """End the threads, and let others know that this process uses nothing any more."""
        atexit.unregister(self.close)
        self._prefetcher.close()
        self._folder.close()

    def _read(self, url: str, version: FileVersion, number: int, skip: int, length: int) -> bytes:
        content = self._find(url, version, number, skip, length)
        if content is None and not self._folder.rests():
            try:
                content = self._obtain(url, version, number, skip, length)
            except OSError as error:
                self._folder.rest(error)
        if content is not None:
            return content
        content = storage.read_part(url, number * self._extent_bytes + skip, length, version)
        self._tally(0, 1, length)
        return content

    def _find(self, url: str, version: FileVersion, number: int, skip: int, length: int) -> bytes | None:
        """`length` bytes of an extent from byte `skip` of it, if it is there."""
        if self._folder.account is None and self._folder.rests():  # what another user's folder holds is not trusted
            return None
        try:
            content = read_extent(self._folder.extent(url, version, number), skip, length)
        except OSError as error:
            self._folder.rest(error)
            return None
        if content is not None:
            self._tally(1, 0, 0)
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
            self._tally(0, 1, 0 if isinstance(part, StorageError) else len(part))
            yield part

    def _obtain(self, url: str, version: FileVersion, number: int, skip: int, length: int) -> bytes | None:
        """`length` bytes of an extent from byte `skip` of it, once it is there, whoever fetches it; None where it can't
        be kept, or somebody else has failed to fetch it."""
        account = self._folder.account
        if account is None:
            return None
        extent = self._folder.extent(url, version, number)
        part = open_part(extent)
        try:
            if not lock_within(part, _WAIT_S):
                return None
            content = read_extent(extent, skip, length)
            status = os.fstat(part)
            if content is not None:
                if status.st_size == 0 and status.st_nlink:  # made after the one that was waited for was done
                    os.unlink(f"{extent}.part")
                self._tally(1, 0, 0)
                return content
            if status.st_nlink == 0:
                return None
            if is_stored(extent):  # but not whole
                account.remove_damaged(extent)
            start = number * self._extent_bytes
            size = min(self._extent_bytes, version.size - start)
            if status.st_size != size and not account.reserve(part, size):  # else a dead one has reserved it
                os.unlink(f"{extent}.part")
                return None
            try:
                content = storage.read_part(url, start, size, version)
                self._tally(0, 1, size)
                self._keep(account, extent, part, content)
            except BaseException:
                account.release(extent, size)
                raise
            return content[skip : skip + length]
        finally:
            os.close(part)

    def _ask_once(self, extent: str, ask: Callable[[], bytes]) -> bytes | None:
        """What is stored as an extent, or what `ask` says, which is stored there; None where neither can be."""
        account = self._folder.account
        content = read_whole(extent)
        if content is not None or account is None:
            return content
        part = open_part(extent)
        try:
            if not lock_within(part, _WAIT_S):
                return None
            content = read_whole(extent)
            if content is not None or os.fstat(part).st_nlink == 0:
                return content
            if os.fstat(part).st_size:  # what a dead one has reserved
                account.release(extent, os.fstat(part).st_size)
                return None
            try:
                content = ask()
                kept = account.reserve(part, len(content))
            except BaseException:
                os.unlink(f"{extent}.part")
                raise
            if kept:
                self._keep(account, extent, part, content)
            else:
                os.unlink(f"{extent}.part")
            return content
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
            self._folder.rest(error)
            return
        self._forget_older(account, extent.rpartition("/")[0])

    def _forget_older(self, account: CacheAccount, place: str) -> None:
        """Remove other versions of a file of which the origin has just confirmed this one."""
        if place in self._current:
            return
        if len(self._current) >= MOST:
            self._current.clear()
        self._current.add(place)
        file, _, current = place.rpartition("/")
        for version in names(file):
            if version != current:
                stored = names(f"{file}/{version}")
                account.remove([f"{file}/{version}/{name.partition('.')[0]}" for name in stored])

    def _fetch(self, wish: Wish) -> None:
        url, version, number = wish
        try:
            if not self._folder.rests():
                self._obtain(url, version, number, 0, 0)
        except StorageError as error:
            _log.debug("%s; left to the one who reads it", error)
        except OSError as error:
            self._folder.rest(error)

    def _tally(self, hits: int, misses: int, fetched_bytes: int) -> None:
        with self._lock:
            self.hits += hits
            self.misses += misses
            self.fetched_bytes += fetched_bytes
