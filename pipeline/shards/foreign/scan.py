"""Where the samples of a tar lie, from its headers alone."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pydantic import BaseModel

from cluster import storage
from cluster.storage import FileVersion
from pipeline.errors import ShardSetError
from pipeline.shards.foreign.naming import split_name, why_left_out
from pipeline.shards.tar_members import DamagedTarError, walk

_BLOCK = 4 << 20
_SMALL_BLOCK = 64 << 10
_GAP = 2 << 20  # a request costs about as much time as 2 MB
_FILES_A_WORD = 4096
_COMPRESSED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstandard", b"BZh": "bzip2", b"\xfd7zXZ": "xz"}


class TarPlace(BaseModel):
    """Bytes `offset` to `offset + bytes` of the tar hold all files of a sample with their headers."""

    key: str
    offset: int
    bytes: int


class TarIndex(BaseModel):
    """What is in one tar.

    Attributes:
        size, etag: the version of the tar that was looked at.
        left_out: how many samples were left out, by what they lack.
        damage: where the headers can't be followed any further, and why; None for a whole tar.
    """

    version: int = 1
    tar: str
    size: int
    etag: str
    samples: list[TarPlace]
    left_out: dict[str, int]
    damage: str | None = None


def scan_tar(url: str, name: str, version: FileVersion, on_progress: Callable[[], None] = lambda: None) -> TarIndex:
    """Look at a tar's headers. Of a local one nothing else is read; on object storage what lies between is passed over
    where it is large. Of a damaged one what lies before the damage counts.

    Args:
        on_progress: called every few thousand files.

    Raises:
        ShardSetError: it is compressed.
        ChangedFileError: it was replaced meanwhile.
        StorageError: it can't be read.
    """
    index = TarIndex(tar=name, size=version.size, etag=version.etag, samples=[], left_out={})
    with _reader_of(url, version) as read:
        start = read(0, 8)
        for magic, compression in _COMPRESSED.items():
            if start.startswith(magic):
                raise compressed(url, compression)
        key, offset, end = "", 0, 0
        extensions: set[str] = set()

        def finish() -> None:
            reason = why_left_out(extensions)
            if extensions and reason is None:
                index.samples.append(TarPlace(key=key, offset=offset, bytes=end - offset))
            elif extensions:
                index.left_out[str(reason)] = index.left_out.get(str(reason), 0) + 1

        try:
            for number, member in enumerate(walk(read, version.size), 1):
                if number % _FILES_A_WORD == 0:
                    on_progress()
                parts = split_name(member.name)
                if parts is None:
                    continue
                if parts[0] != key or not extensions:
                    finish()
                    key, offset, extensions = parts[0], member.start, set()
                extensions.add(parts[1])
                end = member.end
        except DamagedTarError as error:
            index.damage = str(error)
        finish()
    return index


def compressed(url: str, compression: str) -> ShardSetError:
    """The error of a compressed tar."""
    return ShardSetError(
        f"{url}: expected a plain tar, found one compressed with {compression}: single samples of it can't be read; "
        "uncompress it"
    )


@contextmanager
def _reader_of(url: str, version: FileVersion) -> Iterator[Callable[[int, int], bytes]]:
    if storage.is_remote(url):
        yield _Blocks(url, version).read
        return
    with storage.open_read(url) as file:
        handle = file.fileno()
        yield lambda at, size: os.pread(handle, size, at)


class _Blocks:
    """Reads a remote file in blocks: large ones while headers follow each other closely, small ones where what lies
    between them is larger than a request is worth."""

    def __init__(self, url: str, version: FileVersion) -> None:
        self._url = url
        self._version = version
        self._start = self._last = 0
        self._block = b""

    def read(self, at: int, size: int) -> bytes:
        """`size` bytes from byte `at`, fewer at the end of the file."""
        inside = at - self._start
        if inside < 0 or inside + size > len(self._block):
            block = _BLOCK if 0 < at - self._last < _GAP else _SMALL_BLOCK
            length = min(max(block, size), self._version.size - at)
            self._block = storage.read_part(self._url, at, length, self._version)
            self._start, inside = at, 0
        self._last = at
        return self._block[inside : inside + size]
