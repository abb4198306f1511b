"""What a process saves, as one safetensors file.

    rank-00000.safetensors
        8 bytes, header     as safetensors has it; a tensor's name is KIND/NAME, and `__metadata__` has the hashes
        fp32                masters of all parameters, and buffers of 4 bytes a number or more
        ema                 moving averages of the masters
        exp_avg, …          the optimiser's states, by their names
        narrow              buffers of fewer bytes a number

The numbers of a kind are a stretch of the file: who needs the weights alone reads them alone, at one go. Of a parameter
the file has the numbers that its process holds, flat unless these are all.

What lies behind the header is hashed in blocks of equal size, and the header by itself, of which the manifest has the
hash. So whoever reads a part of a file reads its header and whole blocks, and knows that they are what was saved. There
are about 500 blocks: a thousand small stretches of a file are few times what was asked for, and the header stays small.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch

from cluster.json_text import parse_json
from pipeline.train.engine.fragments import EMA, MASTER, Fragment

NARROW = "narrow"
_ORDER = {MASTER: 0, EMA: 1, NARROW: 3}
"""Between the latter two lie all others."""
_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_BLOCKS = 512
_LEAST_BLOCK, LARGEST_BLOCK = 64 << 10, 4 << 20
_DIGITS = 64
"""Of a SHA-256."""


@dataclass(frozen=True)
class Piece:
    """A stretch of one kind of one parameter or buffer: `size` numbers from number `start` on."""

    kind: str
    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    start: int
    size: int

    @property
    def bytes(self) -> int:
        return self.size * self.dtype.itemsize

    @property
    def section(self) -> str:
        # what is widest lies first, so that all numbers begin at multiples of their width
        return self.kind if self.dtype.itemsize >= 4 else NARROW


def pieces_of(fragment: Fragment) -> Iterator[Piece]:
    """A process's stretches of one parameter; those without a number too, of which its shape is known."""
    for kind, numbers in fragment.kinds.items():
        yield Piece(kind, fragment.name, fragment.shape, numbers.dtype, fragment.start, numbers.numel())


class ShareFile:
    """How pieces lie in a file.

    Attributes:
        header: its first bytes, as many as they will be; `seal` puts the hashes in.
        offsets: first byte in the file of each piece, in the order in which they were given.
        bytes: of the file.
    """

    def __init__(self, pieces: Sequence[Piece]) -> None:
        order = sorted(range(len(pieces)), key=lambda at: _place(pieces[at]))
        starts, at = [0] * len(pieces), 0
        for number in order:
            starts[number] = at
            at += pieces[number].bytes
        self._entries = {
            f"{piece.kind}/{piece.name}": tensor_entry(
                piece.dtype, piece.shape if piece.size == prod(piece.shape) else (piece.size,), starts[number]
            )
            for number, piece in ((number, pieces[number]) for number in order)
            if piece.size
        }
        self._block_bytes = _block_bytes(at)
        self.header = self._header("0" * _DIGITS * -(-at // self._block_bytes))
        self.offsets = [len(self.header) + start for start in starts]
        self.bytes = len(self.header) + at

    def seal(self, name: str, content: memoryview) -> dict[str, Any]:
        """Put the hashes of a file's blocks into its header; what a manifest says of the file."""
        begin, size = len(self.header), self._block_bytes
        hashes = (hashlib.sha256(content[at : at + size]).hexdigest() for at in range(begin, self.bytes, size))
        header = self._header("".join(hashes))
        content[:begin] = header
        said = {"bytes": begin, "sha256": hashlib.sha256(header).hexdigest()}
        return {"name": name, "bytes": self.bytes, "block_bytes": size, "header": said}

    def _header(self, hashes: str) -> bytes:
        return header_of({"__metadata__": {"sha256": hashes}} | self._entries)


def header_of(entries: Mapping[str, Any]) -> bytes:
    """The first bytes of a safetensors file."""
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def tensor_entry(dtype: torch.dtype, shape: Sequence[int], start: int) -> dict[str, Any]:
    """What a header says of a tensor whose first byte is byte `start` behind it."""
    ends = [start, start + prod(shape) * dtype.itemsize]
    return {"dtype": _NAMES[dtype], "shape": list(shape), "data_offsets": ends}


@dataclass(frozen=True)
class SavedFile:
    """What a manifest says of a process's file.

    Attributes:
        size: bytes of the file.
        header_bytes: before the first block.
        block_bytes: of each block but the last.
        header_sha256: hash of the header, in hexadecimal digits.
    """

    name: str
    size: int
    header_bytes: int
    block_bytes: int
    header_sha256: str

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> "SavedFile":
        """From the manifest's entry.

        Raises:
            KeyError, TypeError, ValueError: it is none.
        """
        header, block = entry["header"], int(entry["block_bytes"])
        found = cls(str(entry["name"]), int(entry["bytes"]), int(header["bytes"]), block, str(header["sha256"]))
        if not 8 <= found.header_bytes <= found.size or not _LEAST_BLOCK <= block <= LARGEST_BLOCK:
            raise ValueError(f"expected a header and blocks of {found.name}, found sizes that are none")
        return found

    def block_of(self, byte: int) -> int:
        """Number of the block in which a byte of the file lies."""
        return (byte - self.header_bytes) // self.block_bytes

    def begin_of(self, block: int) -> int:
        """A block's first byte in the file; of one behind the last, the file's end."""
        return min(self.size, self.header_bytes + block * self.block_bytes)

    def hashes(self, header: bytes) -> list[str] | None:
        """The blocks' hashes from the file's header; None where it is not what was saved."""
        if hashlib.sha256(header).hexdigest() != self.header_sha256:
            return None
        digits = parse_json(header[8:])["__metadata__"]["sha256"]
        return [digits[at : at + _DIGITS] for at in range(0, len(digits), _DIGITS)]


def _block_bytes(size: int) -> int:
    """A power of two, so that no number lies in two blocks."""
    wanted = 1 << max(0, size // _BLOCKS - 1).bit_length()
    return min(max(wanted, _LEAST_BLOCK), LARGEST_BLOCK)


def _place(piece: Piece) -> tuple[int, str, int]:
    return _ORDER.get(piece.section, 2), piece.section, -piece.dtype.itemsize
