"""The bytes of samples, fetched ahead of their use: from local disk, or object storage through the node's cache."""

import errno
import os
import resource
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from cluster import storage
from cluster.errors import ChangedFileError, MissingFileError, StorageError, UnreachableError
from cluster.node_cache import NodeCache
from cluster.os_errors import OF_THE_MACHINE, why
from pipeline.shards.shard_set import SamplePlace

_CHUNKS = 4
_SOON_BYTES = 8 << 20
_HEADS = 16
_MOST_OPEN = 256
_SHARE_OPEN = 4  # of the files that a process may have open, one in so many may be a shard
_ONCE_MORE = {errno.EMFILE, errno.ENFILE, errno.ESTALE}
"""What may be well when the shards that are open are closed and this one is opened anew."""

Content = bytes | StorageError


class ShardBytes:
    """Reads many places at once.

    Args:
        cache: of remote shards; without one each place is a request of its own.
        opening: the shards' versions are those that the first process of the node finds that has the same one.
    """

    def __init__(self, cache: NodeCache | None, opening: str = "") -> None:
        self._cache = cache
        self._opening = opening
        self._files = _OpenFiles()
        self._versions: dict[str, storage.FileVersion | StorageError] = {}
        self._straight = _CHUNKS
        self._chunks: ThreadPoolExecutor | None = None
        self._heads: ThreadPoolExecutor | None = None

    def begin(self, places: Sequence[SamplePlace]) -> Callable[[], list[Content]]:
        """Ask for places; the call that comes back waits for them and gives each one's bytes or what is wrong with it.

        Raises (the call): UnreachableError: the storage does not answer.
        """
        remote = [place for place in places if storage.is_remote(place.url)]
        if not remote:
            self._files.expect(places)
            return lambda: [self._files.read(place) for place in places]
        come = self._begin_remote(remote)
        if len(remote) == len(places):
            return come

        def both() -> list[Content]:
            contents = iter(come())
            return [next(contents) if storage.is_remote(place.url) else self._files.read(place) for place in places]

        return both

    def prefetch(self, places: Sequence[SamplePlace]) -> None:
        """Begin to bring remote places into the cache; nothing happens where there is none."""
        if self._cache is None:
            return
        remote = [place for place in places if storage.is_remote(place.url)]
        for place, version in zip(remote, self._versions_of(remote), strict=True):
            if not isinstance(version, StorageError):  # else it is said when the sample itself is read
                self._cache.prefetch(place.url, version, place.start, place.length)

    def discard(self, place: SamplePlace) -> None:
        """What came for a place was wrong: read it anew."""
        self._files.close(place.url)
        version = self._versions.get(place.url)
        if self._cache is not None and isinstance(version, storage.FileVersion):
            self._cache.discard(place.url, version, place.start, place.length)

    def close(self) -> None:
        """Give back files and threads."""
        self._files.close()
        if self._cache is not None:
            self._cache.close()
        for threads in (self._chunks, self._heads):
            if threads is not None:
                threads.shutdown(wait=False, cancel_futures=True)

    def _begin_remote(self, places: Sequence[SamplePlace]) -> Callable[[], list[Content]]:
        if self._chunks is None:
            self._chunks = ThreadPoolExecutor(_CHUNKS, thread_name_prefix="gavt-chunk")
        if self._cache is None:
            return self._chunks.submit(self._direct, places).result
        # a first batch need not wait for what lies beside its samples and is wanted later
        most = _SOON_BYTES if self._straight else float("inf")
        self._straight = max(0, self._straight - 1)
        return self._chunks.submit(self._cached, places, most).result

    def _direct(self, places: Sequence[SamplePlace]) -> list[Content]:
        found = list(storage.read_parts((place.url, place.start, place.length, None) for place in places))
        return _unless_unreachable(found)

    def _cached(self, places: Sequence[SamplePlace], most: float) -> list[Content]:
        assert self._cache is not None
        versions = self._versions_of(places)
        found: list[Content] = [StorageError("")] * len(places)
        parts, at = [], []
        for number, (place, version) in enumerate(zip(places, versions, strict=True)):
            if isinstance(version, StorageError):
                found[number] = version
            else:
                parts.append((place.url, version, place.start, place.length))
                at.append(number)
        for number, content in zip(at, self._cache.read_parts(parts, most), strict=True):
            found[number] = self._of_newer(places[number]) if isinstance(content, ChangedFileError) else content
        return _unless_unreachable(found)

    def _of_newer(self, place: SamplePlace) -> Content:
        """The bytes at a place of a shard that was replaced; the sample's checksum says if they are the sample's."""
        assert self._cache is not None
        try:
            version = self._versions[place.url] = storage.version(place.url)
            return self._cache.read(place.url, version, place.start, place.length)
        except StorageError as error:
            return error

    def _versions_of(self, places: Sequence[SamplePlace]) -> list[storage.FileVersion | StorageError]:
        """Versions of the shards, asked for once, many side by side."""
        unknown = list({place.url for place in places} - self._versions.keys())
        if unknown:
            if self._heads is None:
                self._heads = ThreadPoolExecutor(_HEADS, thread_name_prefix="gavt-head")
            for url, version in zip(unknown, self._heads.map(self._version_of, unknown), strict=True):
                self._versions[url] = version
        return [self._versions[place.url] for place in places]

    def _version_of(self, url: str) -> storage.FileVersion | StorageError:
        assert self._cache is not None
        try:
            said = self._cache.once(url, "version", self._opening, lambda: _said(storage.version(url)), _heard)
            return _heard(said)
        except UnreachableError:
            raise
        except StorageError as error:
            return error


def _said(version: storage.FileVersion) -> bytes:
    """A version as it is kept, with a check sum."""
    text = f"{version.size} {version.etag}".encode()
    return b"%08x %b" % (zlib.crc32(text), text)


def _heard(content: bytes) -> storage.FileVersion:
    """The version that was kept.

    Raises:
        ValueError: it is damaged.
    """
    check, _, text = content.partition(b" ")
    if check != b"%08x" % zlib.crc32(text):
        raise ValueError("expected a version with its check sum")
    size, _, etag = text.decode().partition(" ")
    return storage.FileVersion(int(size), etag)


def _unless_unreachable(contents: list[Content]) -> list[Content]:
    for content in contents:
        if isinstance(content, UnreachableError):
            raise content
    return contents


class _OpenFiles:
    """Local shards, the last few kept open: as many as the process's limit of open files (`ulimit -n`) leaves room for.

    Raises (`read`): UnreachableError: what is no fault of the shard, such as too many open files or a disk that fails.
    """

    def __init__(self) -> None:
        self._open: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most = _MOST_OPEN if limit < 0 else max(1, min(_MOST_OPEN, limit // _SHARE_OPEN))

    def expect(self, places: Sequence[SamplePlace]) -> None:
        """Have the kernel read ahead."""
        for place in places:
            try:
                with self._lock:
                    os.posix_fadvise(self._file(place.url), place.start, place.length, os.POSIX_FADV_WILLNEED)
            except OSError:
                continue  # reading says what is wrong

    def read(self, place: SamplePlace) -> Content:
        try:
            with self._lock:
                try:
                    return os.pread(self._file(place.url), place.length, place.start)
                except OSError as error:
                    if error.errno not in _ONCE_MORE:
                        raise
            self.close()
            with self._lock:
                return os.pread(self._file(place.url), place.length, place.start)
        except FileNotFoundError:
            return MissingFileError(f"{place.url}: no such file")
        except OSError as error:
            if error.errno in OF_THE_MACHINE:
                raise UnreachableError(f"{place.url}: can't read it: {why(error)}") from error
            return StorageError(f"{place.url}: can't read it: {why(error)}")

    def close(self, url: str | None = None) -> None:
        with self._lock:
            for name in [url] if url is not None else list(self._open):
                file = self._open.pop(name, None)
                if file is not None:
                    os.close(file)

    def _file(self, url: str) -> int:
        file = self._open.get(url)
        if file is None:
            file = self._open[url] = os.open(url.removeprefix("file://"), os.O_RDONLY | os.O_CLOEXEC)
            if len(self._open) > self._most:
                os.close(self._open.popitem(last=False)[1])
        else:
            self._open.move_to_end(url)
        return file
