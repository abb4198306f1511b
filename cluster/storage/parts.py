"""Ranges of bytes of a file."""

import os
from collections.abc import Sequence
from typing import IO, cast

from cluster.errors import ChangedFileError, StorageError
from cluster.remote_file import RemoteFile
from cluster.storage.filesystems import open_filesystem, open_storage
from cluster.storage.listing import size
from cluster.storage.location import Location, is_remote, path_of
from cluster.storage.plain_errors import changed, said_plainly
from cluster.storage.versions import FileVersion, local_version

_MOST_PIECES = 1024  # that one call fills (IOV_MAX)


def read_part(url: Location, start: int, length: int, version: FileVersion | None = None) -> bytes:
    """Exactly `length` bytes of a file from byte `start`, of one version: of `version`, or of whichever is there.

    A broken stream goes on at the byte where it broke.

    Raises:
        ChangedFileError: another version is there.
        UnreachableError: the storage failed until patience ended.
        StorageError: the file ends before, is missing (`MissingFileError`) or can't be read.
    """
    with said_plainly("read", url):
        if not is_remote(url):
            content = _read_local(os.fspath(url).removeprefix("file://"), start, length, version)
        else:
            storage, path = open_storage(url)
            etag = None if version is None else version.etag
            content = storage.get_range(path, start, start + length, etag) if length else b""
        return whole(url, content, start, length)


def read_range(url: Location, start: int, length: int) -> bytes:
    """`length` bytes of a file from byte `start`; fewer where the file ends before."""
    if length == 0:
        return b""  # S3 knows no empty range and would send the whole file
    filesystem, path = open_filesystem(url)
    with said_plainly("read", url):
        if is_remote(url):
            return bytes(filesystem.get_range(path, start, start + length))
        return bytes(filesystem.cat_file(path, start=start, end=start + length))


def open_read(url: Location) -> IO[bytes]:
    """Open a file for reading, seekable; on object storage blocks are fetched as they are asked for."""
    if is_remote(url):
        return cast("IO[bytes]", RemoteFile(lambda start, length: read_range(url, start, length), size(url)))
    with said_plainly("read", url):
        return path_of(url).open("rb")


def whole(url: Location, content: bytes, start: int, length: int) -> bytes:
    """The content that was read, which has to have `length` bytes.

    Raises:
        StorageError: it hasn't.
    """
    if len(content) != length:
        raise StorageError(ends_before(url, length, start, len(content)))
    return content


def ends_before(url: Location, length: int, start: int, found: int) -> str:
    """What is said of a file that has fewer bytes than were wanted."""
    return f"{os.fspath(url)}: expected {length} bytes from byte {start} on, found {found}"


def fill_local(url: Location, start: int, into: Sequence[memoryview]) -> None:
    """Read bytes of a local file from byte `start` on into one piece of memory after the other.

    Raises:
        StorageError: the file ends before, is missing (`MissingFileError`) or can't be read.
    """
    with said_plainly("read", url):
        file = os.open(path_of(url), os.O_RDONLY | os.O_CLOEXEC)
        try:
            left, length, at = list(into), sum(map(len, into)), start
            while left:
                came = os.preadv(file, left[:_MOST_PIECES], at)
                if not came:
                    raise StorageError(ends_before(url, length, start, at - start))
                at += came
                while left and came >= len(left[0]):
                    came -= len(left.pop(0))
                if came:
                    left[0] = left[0][came:]
        finally:
            os.close(file)


def _read_local(path: str, start: int, length: int, version: FileVersion | None) -> bytes:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if version is not None and local_version(os.fstat(file)) != version:
            raise ChangedFileError(changed(path))
        pieces = []
        while length and (piece := os.pread(file, length, start)):  # one call reads 2 GiB at most
            pieces.append(piece)
            start, length = start + len(piece), length - len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)
    finally:
        os.close(file)
