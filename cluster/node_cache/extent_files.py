"""The files of extents: `EXTENT.kept`, `EXTENT.ring` (transient) and, while it is fetched, `EXTENT.part`."""

import errno
import os
from contextlib import suppress

from cluster.private_folder import make_private, open_own

STORED = (".kept", ".ring")
"""Endings of an extent that is there."""
_BLOCK = 4096
_TRIES = 100


def read_extent(extent: str, skip: int, length: int) -> bytes | None:
    """`length` bytes of an extent (its path without the ending) from byte `skip` of it; None where it isn't there, or
    ends before."""
    for ending in STORED:
        try:
            file = open_own(extent + ending, os.O_RDONLY)
        except FileNotFoundError:
            continue
        try:
            content = os.pread(file, length, skip)
        finally:
            os.close(file)
        if len(content) == length:
            return content
    return None


def read_whole(extent: str) -> bytes | None:
    """All of an extent, whatever its size; None where it isn't there."""
    for ending in STORED:
        try:
            with open(open_own(extent + ending, os.O_RDONLY), "rb") as file:
                return file.read()
        except FileNotFoundError:
            continue
    return None


def is_stored(extent: str) -> bool:
    """Whether an extent is there, whole or not."""
    return any(os.path.exists(extent + ending) for ending in STORED)


def open_part(extent: str) -> int:
    """Open the part of an extent, made if need be."""
    for _ in range(_TRIES):  # who evicts the last extent of a folder removes the folder
        with suppress(FileNotFoundError):
            return open_own(f"{extent}.part", os.O_RDWR | os.O_CREAT)
        with suppress(FileNotFoundError):
            make_private(extent.rpartition("/")[0])
    raise FileNotFoundError(errno.ENOENT, "its folder vanishes again and again", extent)


def names(folder: str) -> list[str]:
    """Names in a folder; none where it isn't there."""
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def unlink(path: str) -> int | None:
    """Remove a file; its size in bytes, None if it wasn't there."""
    try:
        size = os.lstat(path).st_size
        os.unlink(path)
    except FileNotFoundError:
        return None
    return size


def rounded(size: int) -> int:
    """Bytes that a file of `size` bytes has on a disk."""
    return -(-size // _BLOCK) * _BLOCK
