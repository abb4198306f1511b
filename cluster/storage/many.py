"""Many files, or parts of files, read at a time and handed out in order."""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from typing import TYPE_CHECKING

from cluster.errors import StorageError
from cluster.storage.filesystems import s3_of
from cluster.storage.location import Location
from cluster.storage.parts import read_part, whole
from cluster.storage.plain_errors import said_plainly
from cluster.storage.reading import read_bytes
from cluster.storage.versions import FileVersion

if TYPE_CHECKING:
    from cluster.s3.filesystem import PatientS3FileSystem
    from cluster.s3.quick import Get

_Wish = tuple[Location, int, int | None, FileVersion | None]
"""File, first byte, number of bytes (None: the whole file), version."""


def read_many(urls: Iterable[Location], readers: int = 64) -> Iterator[bytes]:
    """The whole contents of many files, in the order of `urls`, `readers` of them read at a time.

    For many small files: on object storage a file takes as long as its answer, and this waits for many answers at once.

    Raises:
        StorageError: at the first file that can't be read.
    """
    for content in read_each(urls, readers):
        if isinstance(content, StorageError):
            raise content
        yield content


def read_each(urls: Iterable[Location], readers: int = 64) -> Iterator[bytes | StorageError]:
    """As `read_many`; a file that can't be read gives its error, and leaves the others alone."""
    return _or_error(_read_all(((url, 0, None, None) for url in urls), readers))


def read_parts(
    parts: Iterable[tuple[Location, int, int, FileVersion | None]], readers: int = 32
) -> Iterator[bytes | StorageError]:
    """What `read_part` would return or raise for each `(url, start, length, version)`, in order, `readers` at a time.

    On S3 one thread does it all. An error of one part leaves the others alone. For a batch on object storage.
    """
    return _or_error(_read_all(parts, readers))


def _or_error(contents: Iterator[bytes | Exception]) -> Iterator[bytes | StorageError]:
    for content in contents:
        if isinstance(content, Exception) and not isinstance(content, StorageError):
            raise content
        yield content


def _read_all(wishes: Iterable[_Wish], readers: int) -> Iterator[bytes | Exception]:
    """Bytes or error of each wish, in order, `readers` of those that lie on one storage read at a time."""
    for remote, group in groupby(wishes, key=lambda wish: s3_of(wish[0])):
        if remote is None:
            yield from _read_all_in_threads(group, readers)
        else:
            yield from _read_all_from_s3(remote, group, readers)


def _read_all_from_s3(s3: "PatientS3FileSystem", wishes: Iterable[_Wish], readers: int) -> Iterator[bytes | Exception]:
    from cluster.s3.quick import Get

    asked: deque[_Wish] = deque()

    def gets() -> "Iterator[Get]":
        for wish in wishes:
            url, start, length, version = wish
            asked.append(wish)
            path = os.fspath(url).split("://", 1)[1]
            end = None if length is None else start + length
            yield Get(path, start, end, None if version is None else version.etag)

    for content in s3.get_many(gets(), readers):
        url, start, length, _ = asked.popleft()
        try:
            with said_plainly("read", url):
                if isinstance(content, Exception):
                    raise content
                found = content if length is None else whole(url, content, start, length)
        except Exception as error:
            yield error
        else:
            yield found


def _read_all_in_threads(wishes: Iterable[_Wish], readers: int) -> Iterator[bytes | Exception]:
    def read(wish: _Wish) -> bytes | Exception:
        url, start, length, version = wish
        try:
            return read_bytes(url) if length is None else read_part(url, start, length, version)
        except Exception as error:
            return error

    waiting: deque[Future[bytes | Exception]] = deque()
    with ThreadPoolExecutor(readers) as threads:
        try:
            for wish in wishes:
                waiting.append(threads.submit(read, wish))
                if len(waiting) >= readers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
