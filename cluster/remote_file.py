"""A file on object storage that is read in blocks as they are asked for."""

import io
from collections import OrderedDict
from collections.abc import Callable

from cluster.errors import StorageError

_BLOCK = 2 << 20  # a request costs about as much time as 2 MB, so smaller blocks save nothing
_KEPT = 8  # audio and video of the same moments lie a few blocks apart


class RemoteFile(io.RawIOBase):
    """Read-only and seekable; fetches only the blocks that are read and keeps the last few.

    fsspec's own buffered files fetch 50 MB at every jump, which makes a clip of a long video as dear as the video.

    Args:
        read_range: reads bytes by their first and their number.
        size: of the whole file, in bytes.

    Raises:
        StorageError: while reading, where the file became shorter or can't be read.
    """

    def __init__(self, read_range: Callable[[int, int], bytes], size: int) -> None:
        self._read_range = read_range
        self._size = size
        self._place = 0
        self._blocks: OrderedDict[int, bytes] = OrderedDict()

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a byte; gives where it is now."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = max(0, base + offset)
        return self._place

    def tell(self) -> int:
        """The byte that is read next."""
        return self._place

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        """Fill `buffer`; gives how many bytes came, fewer only at the end of the file."""
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, fewer only at the end of the file; all that follow if it is negative."""
        end = self._size if size < 0 else min(self._size, self._place + size)
        parts = []
        while self._place < end:
            number, skipped = divmod(self._place, _BLOCK)
            part = self._block(number)[skipped : skipped + end - self._place]
            parts.append(part)
            self._place += len(part)
        return b"".join(parts)

    def _block(self, number: int) -> bytes:
        if number in self._blocks:
            self._blocks.move_to_end(number)
        else:
            start = number * _BLOCK
            length = min(_BLOCK, self._size - start)
            block = self._read_range(start, length)
            if len(block) != length:
                raise StorageError(f"expected {length} bytes from byte {start}, found {len(block)}: the file changed")
            self._blocks[number] = block
            while len(self._blocks) > _KEPT:
                self._blocks.popitem(last=False)
        return self._blocks[number]
