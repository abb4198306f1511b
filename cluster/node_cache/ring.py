"""The transient extents of a cache, oldest first: a file with a record for each."""

import os
from collections.abc import Generator, Iterable
from typing import BinaryIO

from cluster.private_folder import open_own

RECORD = 16 + 1 + 32 + 1 + 16 + 1 + 8 + 1
"""Bytes of a record: SET/FILE/VERSION/NUMBER and a line's end."""
MANY = RECORD * 16_384
"""Bytes of records that count no longer, from which on they are dropped."""


class Ring:
    """The ring of the cache in `folder`; for who has locked the cache's account."""

    def __init__(self, folder: str) -> None:
        self._path = f"{folder}/ring"

    def append(self, name: str) -> None:
        """Add the newest extent, by its name below the folder of sets."""
        ring = self._open()
        try:
            end = os.fstat(ring).st_size // RECORD * RECORD  # a disk that ran full may have cut the last one
            os.pwrite(ring, _record(name), end)
        finally:
            os.close(ring)

    def oldest(self, head: int) -> Generator[tuple[str, int], None, None]:
        """Names of the extents from byte `head` on, each with the byte behind its record. To be closed."""
        ring = self._open()
        try:
            while len(record := os.pread(ring, RECORD, head)) == RECORD:
                head += RECORD
                yield record.decode().strip(), head
        finally:
            os.close(ring)

    def drop(self, head: int) -> None:
        """Drop the records before byte `head`, so that the ring begins at byte 0."""
        ring = self._open()
        try:
            with self._anew() as file:
                while piece := os.pread(ring, MANY, head):
                    file.write(piece)
                    head += len(piece)
        finally:
            os.close(ring)
        os.replace(f"{self._path}.part", self._path)

    def rewrite(self, names: Iterable[str]) -> None:
        """Have it hold these extents, oldest first, from byte 0 on."""
        with self._anew() as file:
            file.writelines(map(_record, names))
        os.replace(f"{self._path}.part", self._path)

    def _anew(self) -> BinaryIO:
        return open(open_own(f"{self._path}.part", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb")

    def _open(self) -> int:
        return open_own(self._path, os.O_RDWR | os.O_CREAT)


def _record(name: str) -> bytes:
    return f"{name}\n".encode()
