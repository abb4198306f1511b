"""Text of list files, local or s3://, plain or gzip, read in blocks."""

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

from cluster import storage
from cluster.errors import StorageError
from pipeline.errors import ManifestError

_BLOCK = 4 << 20  # a request to object storage costs about as much time as 2 MB


class _Blocks(io.RawIOBase):
    """A file on object storage, fetched in blocks; the last one is kept, since lines are asked for in small pieces."""

    def __init__(self, url: str) -> None:
        self._url, self._place, self._size = url, 0, storage.size(url)
        self._begin, self._block = 0, b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = max(0, base + offset)
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if self._place >= self._size:
            return 0
        if not self._begin <= self._place < self._begin + len(self._block):
            self._fetch()
        skipped = self._place - self._begin
        content = self._block[skipped : skipped + len(buffer)]
        buffer[: len(content)] = content
        self._place += len(content)
        return len(content)

    def _fetch(self) -> None:
        length = min(_BLOCK, self._size - self._place)
        block = storage.read_range(self._url, self._place, length)
        if len(block) != length:
            found = f"expected {length} bytes from byte {self._place}, found {len(block)}"
            raise StorageError(f"{self._url}: {found}")
        self._begin, self._block = self._place, block


def open_bytes(url: str) -> BinaryIO:
    """The file's content as it is stored, seekable; from object storage it comes in blocks.

    Raises:
        ManifestError: there is no such file, or it may not be read.
        StorageError: object storage does not give it.
    """
    if storage.is_remote(url):
        return cast(BinaryIO, io.BufferedReader(_Blocks(url)))
    try:
        return open(url, "rb", buffering=1 << 18)
    except FileNotFoundError:
        raise ManifestError(f"{url}: no such file or folder") from None
    except OSError as error:
        raise ManifestError(f"{url}: can't read it: {error.strerror}") from None


@contextmanager
def open_text(url: str) -> Iterator[io.TextIOWrapper]:
    """The file's lines, with their ends; a byte-order mark is dropped, and bytes that are no UTF-8 become lone
    surrogates, so that only the row that holds them is wrong.

    Raises:
        ManifestError: there is no such file, or it is no gzip though it is named so.
    """
    with open_bytes(url) as stored:
        content = cast(BinaryIO, gzip.GzipFile(fileobj=stored)) if url.lower().endswith(".gz") else stored
        with io.TextIOWrapper(content, encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
            try:
                yield text
            except (gzip.BadGzipFile, EOFError, zlib.error) as error:
                raise ManifestError(f"{url}: expected a gzip file, found something else ({error})") from None
