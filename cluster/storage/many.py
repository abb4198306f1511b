"""Many files, or parts of files, read at a time and handed out in order, or into memory that is there."""

import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from cluster.errors import StorageError
from cluster.storage.filesystems import s3_of
from cluster.storage.location import Location, is_remote
from cluster.storage.parts import fill_local, read_part, whole
from cluster.storage.plain_errors import said_plainly
from cluster.storage.reading import read_bytes
from cluster.storage.versions import FileVersion

if TYPE_CHECKING:
    from cluster.s3.filesystem import PatientS3FileSystem
    from cluster.s3.quick import Get


_Contents = Generator["bytes | Exception", None, None]
"""Bytes or error of each wish, in order."""


class _Wish(NamedTuple):
    """Bytes of a file: the first, their number (None: the whole file), of which version, and where they go, if not into
    memory of their own."""

    url: Location
    start: int = 0
    length: int | None = None
    version: FileVersion | None = None
    into: Sequence[memoryview] = ()


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
    return _or_error(_read_all(map(_Wish, urls), readers))


def read_parts(
    parts: Iterable[tuple[Location, int, int, FileVersion | None]], readers: int = 32
) -> Generator[bytes | StorageError, None, None]:
    """What `read_part` would return or raise for each `(url, start, length, version)`, in order, `readers` at a time.

    On S3 one thread does it all. An error of one part leaves the others alone. For a batch on object storage.
    """
    return _or_error(_read_all((_Wish(*part) for part in parts), readers))


def fill_parts(
    parts: Iterable[tuple[Location, int, Sequence[memoryview]]], readers: int = 4
) -> Generator[StorageError | None, None, None]:
    """Read bytes of files to where they are wanted, `readers` parts at a time: of each `(url, start, memory)` from byte
    `start` on into one piece of memory after the other. In order, what is wrong with each part; then its memory holds
    anything. Who gives up half-way closes it before using the memory for something else: reads are on their way.
    """
    wishes = (_Wish(url, start, sum(map(len, memory)), None, memory) for url, start, memory in parts)
    with closing(_or_error(_read_all(wishes, readers))) as contents:
        for content in contents:
            yield content if isinstance(content, StorageError) else None


def _or_error(contents: _Contents) -> Generator[bytes | StorageError, None, None]:
    with closing(contents):
        for content in contents:
            if isinstance(content, Exception) and not isinstance(content, StorageError):
                raise content
            yield content


def _read_all(wishes: Iterable[_Wish], readers: int) -> _Contents:
    """Bytes or error of each wish, in order, `readers` of those that lie on one storage read at a time."""
    for remote, group in groupby(wishes, key=lambda wish: s3_of(wish.url)):
        if remote is None:
            yield from _read_all_in_threads(group, readers)
        else:
            yield from _read_all_from_s3(remote, group, readers)


def _read_all_from_s3(s3: "PatientS3FileSystem", wishes: Iterable[_Wish], readers: int) -> _Contents:
    from cluster.s3.quick import Get

    asked: deque[tuple[_Wish, Get]] = deque()

    def gets() -> "Iterator[Get]":
        for wish in wishes:
            path = os.fspath(wish.url).split("://", 1)[1]
            end = None if wish.length is None else wish.start + wish.length
            get = Get(path, wish.start, end, None if wish.version is None else wish.version.etag, wish.into)
            asked.append((wish, get))
            yield get

    for content in s3.get_many(gets(), readers):
        wish, get = asked.popleft()
        try:
            with said_plainly("read", wish.url):
                if isinstance(content, Exception):
                    raise content
                found = content if get.filled else _taken(wish, content)
        except Exception as error:
            yield error
        else:
            yield found


def _read_all_in_threads(wishes: Iterable[_Wish], readers: int) -> _Contents:
    def read(wish: _Wish) -> bytes | Exception:
        url, start, length, version, into = wish
        try:
            if length is None:
                return read_bytes(url)
            if into and not is_remote(url):
                fill_local(url, start, into)
                return b""
            return _taken(wish, read_part(url, start, length, version))
        except Exception as error:
            return error

    threads, waiting = ThreadPoolExecutor(readers), deque[Future[bytes | Exception]]()
    try:
        for wish in wishes:
            waiting.append(threads.submit(read, wish))
            if len(waiting) >= readers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # who gives up half-way may leave this to the garbage collector, in any thread and at any moment: also in one
        # that is just starting, for which whoever starts it waits. So reads that have begun are waited for, threads not
        wait([future for future in waiting if not future.cancel()])
        threads.shutdown(wait=False)


def _taken(wish: _Wish, content: bytes) -> bytes:
    """What was read, all that was wanted of it, which is put where it is wanted."""
    if wish.length is None:
        return content
    content = whole(wish.url, content, wish.start, wish.length)
    if not wish.into:
        return content
    at = 0
    for memory in wish.into:
        memory[:] = content[at : at + len(memory)]
        at += len(memory)
    return b""
