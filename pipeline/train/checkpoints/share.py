"""What a process saves, as one safetensors file.

    rank-00000.safetensors
        8 bytes, header     as safetensors has it; a tensor's name is KIND/NAME
        fp32                masters of all parameters, and buffers of 4 bytes a number or more
        ema                 moving averages of the masters
        exp_avg             first moments
        exp_avg_sq          second moments
        narrow              buffers of fewer bytes a number

Each of these sections is a stretch of its own, with a hash of its own: who needs the weights alone reads them alone, at
one go, and knows that they are what was saved. Of a parameter the file has the numbers that its process holds, flat
unless these are all.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import prod
from typing import Any

import torch

from pipeline.train.engine.fragments import EMA, MASTER, MOMENTS, Fragment

HEADER = "header"
NARROW = "narrow"
_ORDER = {MASTER: 0, EMA: 1} | {kind: at for at, kind in enumerate(MOMENTS, 2)} | {NARROW: 9}
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


@dataclass(frozen=True)
class Section:
    """A stretch of a file: its first byte, its bytes, and their SHA-256 in hexadecimal digits."""

    kind: str
    start: int
    bytes: int
    sha256: str = ""


class ShareFile:
    """How pieces lie in a file.

    Attributes:
        header: its first bytes.
        offsets: first byte in the file of each piece, in the order in which they were given.
        sections: of the file, one behind the other.
        bytes: of the file.
    """

    def __init__(self, pieces: Sequence[Piece]) -> None:
        order = sorted(range(len(pieces)), key=lambda at: _place(pieces[at]))
        entries, at = {}, 0
        starts = [0] * len(pieces)
        for number in order:
            piece = pieces[number]
            starts[number] = at
            if piece.size:
                whole = piece.size == prod(piece.shape)
                entries[f"{piece.kind}/{piece.name}"] = {
                    "dtype": _NAMES[piece.dtype],
                    "shape": list(piece.shape) if whole else [piece.size],
                    "data_offsets": [at, at + piece.bytes],
                }
            at += piece.bytes
        text = json.dumps(entries).encode()
        text += b" " * (-len(text) % 8)
        self.header = len(text).to_bytes(8, "little") + text
        self.offsets = [len(self.header) + start for start in starts]
        self.bytes = len(self.header) + at
        self.sections = [Section(HEADER, 0, len(self.header))]
        for kind, found in groupby(order, key=lambda number: pieces[number].section):
            numbers = list(found)
            size = sum(pieces[number].bytes for number in numbers)
            self.sections += [Section(kind, self.offsets[numbers[0]], size)] if size else []

    def entry(self, name: str, content: memoryview) -> dict[str, Any]:
        """What a manifest says of the file."""
        sections = {
            one.kind: [one.start, one.bytes, hashlib.sha256(content[one.start : one.start + one.bytes]).hexdigest()]
            for one in self.sections
        }
        return {"name": name, "bytes": self.bytes, "sections": sections}


def sections_of(entry: Mapping[str, Any]) -> list[Section]:
    """The stretches of a file that have a hash of their own, from what a manifest says of the file; all of it is one
    where it has no sections."""
    if "sections" not in entry:
        return [Section("", 0, int(entry["bytes"]), str(entry["sha256"]))]
    return [Section(kind, *row) for kind, row in entry["sections"].items()]


def _place(piece: Piece) -> tuple[int, int]:
    return _ORDER[piece.section], -piece.dtype.itemsize
