"""The numbers in a checkpoint's files, read by range, whatever shared them out when it was saved.

In the manifest:

    "tensors": {NAME: {"shape": […], "dtype": "float32", "held": [[first, last, start, size, {KIND: offset}], …]}}

says of a parameter or buffer that each of the processes first … last holds `size` numbers of it, the first from number
`start` on and each next one from where the one before ends, and at which byte of its file the numbers of each kind
begin. Processes of ZeRO 3 hold equal stretches, those of ZeRO 1 and 2 stretches of few parameters; so the table does
not grow with processes times parameters.
"""

import hashlib
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor

from cluster import storage
from cluster.errors import StorageError
from pipeline.errors import CheckpointError
from pipeline.train.checkpoints.layout import MANIFEST, Checkpoint, damaged, rank_file
from pipeline.train.checkpoints.share import Piece, Section, ShareFile, sections_of

_AT_ONCE = 32 << 20
"""Bytes that one request asks for."""
_READERS = 4
"""Requests under way at a time."""


@dataclass(frozen=True)
class Wish:
    """Numbers of a process's file: from byte `start` on, as many as `into` takes, in the type in which they lie."""

    rank: int
    start: int
    dtype: torch.dtype
    into: Tensor

    @property
    def end(self) -> int:
        return self.start + self.into.numel() * self.dtype.itemsize

    def cut(self, at: int) -> "tuple[Wish, list[Wish]]":
        """What lies before a byte of the file, which is no number's middle, and what lies behind it, if anything."""
        if self.end <= at:
            return self, []
        count = (at - self.start) // self.dtype.itemsize
        rest = replace(self, start=self.start + count * self.dtype.itemsize, into=self.into[count:])
        return replace(self, into=self.into[:count]), [rest]

    def fill(self, content: bytes, begin: int) -> None:
        """Fill it from bytes of the file, of which the first is byte `begin`."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that bytes can't be written to, which nobody does
            numbers = torch.frombuffer(content, dtype=self.dtype, count=self.into.numel(), offset=self.start - begin)
        self.into.copy_(numbers)


@dataclass(frozen=True)
class _Held:
    first: int
    last: int
    start: int
    size: int
    offsets: Mapping[str, int]


Row = Sequence[Any]
"""What a process has of a parameter: name, shape, dtype, start, size, and by kind the byte where it begins."""


def rows_of(pieces: Sequence[Piece], layout: ShareFile) -> list[Row]:
    """What a process's file has of each parameter."""
    rows: dict[str, list[Any]] = {}
    for piece, offset in zip(pieces, layout.offsets, strict=True):
        dtype = str(piece.dtype).removeprefix("torch.")
        row = rows.setdefault(piece.name, [piece.name, list(piece.shape), dtype, piece.start, piece.size, {}])
        row[-1][piece.kind] = offset
    return list(rows.values())


def describe(rows: Iterable[tuple[int, Row]]) -> dict[str, Any]:
    """The manifest's table of what is in the files of processes, by rank, in order of these."""
    tensors: dict[str, Any] = {}
    for rank, (name, shape, dtype, start, size, offsets) in rows:
        held = tensors.setdefault(name, {"shape": shape, "dtype": dtype, "held": []})["held"]
        if not size:
            continue
        if held and [rank, start, size, offsets] == _next_of(*held[-1]):
            held[-1][1] = rank
        else:
            held.append([rank, rank, start, size, offsets])
    return tensors


def _next_of(first: int, last: int, start: int, size: int, offsets: Mapping[str, int]) -> list[Any]:
    return [last + 1, start + (last + 1 - first) * size, size, offsets]


class SavedState:
    """A checkpoint's numbers; nothing is read before it is asked for.

    Attributes:
        shapes: of all parameters and persistent buffers, by name.
        dtypes: of the same; parameters have their master weights'.

    Raises:
        CheckpointError: the checkpoint is an export, or its manifest makes no sense.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._url = checkpoint.url
        if checkpoint.is_export:
            raise CheckpointError(f"{self._url}: expected a checkpoint to go on from, found weights alone")
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.dtypes: dict[str, torch.dtype] = {}
        self._held: dict[str, list[_Held]] = {}
        try:
            self._sections = {entry["name"]: sections_of(entry) for entry in checkpoint.manifest["files"]}
            for name, entry in checkpoint.manifest["tensors"].items():
                self.shapes[name] = tuple(map(int, entry["shape"]))
                self.dtypes[name] = getattr(torch, entry["dtype"])
                self._held[name] = [_Held(*row) for row in entry["held"]]
                if any(held.size < 1 for held in self._held[name]):
                    raise ValueError(f"expected numbers of {name} in each file, found none")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            manifest = storage.join(self._url, MANIFEST)
            raise CheckpointError(f"{manifest}: not a checkpoint's manifest: {error}") from None

    def has(self, name: str, kind: str) -> bool:
        """Whether anything of it was saved."""
        return any(kind in held.offsets for held in self._held.get(name, ()))

    def kinds(self) -> list[str]:
        """Kinds of which something was saved."""
        return sorted({kind for held in self._held.values() for one in held for kind in one.offsets})

    def wishes(self, name: str, kind: str, start: int, into: Tensor) -> Iterator[Wish]:
        """What is to be read for a stretch of a parameter from number `start` on, as many numbers as `into` takes.

        Raises:
            CheckpointError: a part of it was not saved.
        """
        end, left, dtype = start + into.numel(), into.numel(), self.dtypes[name]
        for held in self._held[name]:
            if kind not in held.offsets:
                continue
            first = held.first + max(0, (start - held.start) // held.size)
            for rank in range(first, held.last + 1):
                begin = held.start + (rank - held.first) * held.size
                low, high = max(start, begin), min(end, begin + held.size)
                if low >= high:
                    break
                left -= high - low
                at = held.offsets[kind] + (low - begin) * dtype.itemsize
                yield Wish(rank, at, dtype, into[low - start : high - start])
        if left:
            raise CheckpointError(f"{self._url}: {kind} of {name} is not wholly in its files")

    def read(self, wishes: Iterable[Wish]) -> None:
        """Fill what wishes want filled: of each file as few ranges as there are, a few of them read at a time.

        Raises:
            StorageError: a file can't be read.
        """
        batches = list(_batches(wishes))
        ranges = ((self._file(one[0].rank), one[0].start, one[-1].end - one[0].start, None) for one in batches)
        for batch, content in zip(batches, storage.read_parts(ranges, _READERS), strict=True):
            if isinstance(content, StorageError):
                raise content
            for wish in batch:
                wish.fill(content, batch[0].start)

    def whole(self, kind: str) -> dict[str, Tensor]:
        """All that was saved of a kind, by name, on the CPU; what is read of a file are whole sections, which are
        compared with their hashes.

        Raises:
            CheckpointError: a section is damaged, or a part was not saved.
            StorageError: a file can't be read.
        """
        wholes = {
            name: torch.empty(prod(shape), dtype=self.dtypes[name])
            for name, shape in self.shapes.items()
            if self.has(name, kind)
        }
        found: dict[tuple[int, Section], deque[Wish]] = {}
        wishes = (wish for name, into in wholes.items() for wish in self.wishes(name, kind, 0, into))
        for wish in sorted(wishes, key=lambda wish: (wish.rank, wish.start)):
            section = next(one for one in self._sections[rank_file(wish.rank)] if wish.start < one.start + one.bytes)
            found.setdefault((wish.rank, section), deque()).append(wish)
        parts = [
            (rank, section, at, min(_AT_ONCE, section.start + section.bytes - at))
            for rank, section in found
            for at in range(section.start, section.start + section.bytes, _AT_ONCE)
        ]
        ranges = ((self._file(rank), at, size, None) for rank, _, at, size in parts)
        digest = hashlib.sha256()
        for (rank, section, at, size), content in zip(parts, storage.read_parts(ranges, _READERS), strict=True):
            if isinstance(content, StorageError):
                raise content
            digest.update(content)
            waiting = found[rank, section]
            while waiting and waiting[0].start < at + size:
                wish, rest = waiting.popleft().cut(at + size)
                wish.fill(content, at)
                waiting.extendleft(rest)
            if at + size == section.start + section.bytes:
                if digest.hexdigest() != section.sha256:
                    raise CheckpointError(damaged(self._file(rank)))
                digest = hashlib.sha256()
        return {name: numbers.view(self.shapes[name]) for name, numbers in wholes.items()}

    def _file(self, rank: int) -> str:
        return storage.join(self._url, rank_file(rank))


def _batches(wishes: Iterable[Wish]) -> Iterator[list[Wish]]:
    """Wishes that one request each answers: they lie side by side in a file."""
    batch: list[Wish] = []
    waiting = deque(sorted((wish for wish in wishes if wish.into.numel()), key=lambda wish: (wish.rank, wish.start)))
    while waiting:
        wish = waiting.popleft()
        if batch:
            first, last = batch[0], batch[-1]
            if wish.rank != last.rank or wish.start != last.end or last.end - first.start >= _AT_ONCE:
                yield batch
                batch = []
        wish, rest = wish.cut((batch[0] if batch else wish).start + _AT_ONCE)
        batch.append(wish)
        waiting.extendleft(rest)
    if batch:
        yield batch
