"""The numbers in a checkpoint's files, read by range, whatever shared them out when it was saved.

In the manifest:

    "tensors": {NAME: {"shape": […], "dtype": "float32", "held": [[first, last, start, size, {KIND: offset}], …]}}

says of a parameter or buffer that each of the processes first … last holds `size` numbers of it, the first from number
`start` on and each next one from where the one before ends, and at which byte of its file the numbers of each kind
begin. Processes of ZeRO 3 hold equal stretches, those of ZeRO 1 and 2 stretches of few parameters; so the table does
not grow with processes times parameters.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from cluster import storage
from cluster.errors import UserError
from cluster.process_group import ProcessGroup
from pipeline.errors import CheckpointError
from pipeline.train.checkpoints.layout import MANIFEST, Checkpoint, rank_file
from pipeline.train.checkpoints.share import Piece, ShareFile
from pipeline.train.checkpoints.share_reader import Part, ShareReader, Wish, bytes_of, parts_of, saved_files

_IN_MEMORY = 256 << 20
"""Bytes of parameters that are read at a time, where not all are wanted at once."""


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
        self._reader = ShareReader(self._url)
        try:
            self._files = saved_files(checkpoint.manifest["files"])
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
                yield Wish(self._files[rank_file(rank)], at, dtype, into[low - start : high - start])
        if left:
            raise CheckpointError(f"{self._url}: {kind} of {name} is not wholly in its files")

    def read(self, wishes: Iterable[Wish]) -> None:
        """Fill what wishes want filled, by as few requests as there are stretches of files; what was read is what was
        saved.

        Raises:
            DamagedError: it is not.
            StorageError: a file can't be read.
        """
        self._reader.read(wishes)

    def read_together(self, wishes: Iterable[Wish], group: ProcessGroup) -> None:
        """As `read`, for what every process of a group wishes alike: one process of each machine reads its share, and
        all get it from there. Every process must call it.

        Raises:
            DamagedError, StorageError: as of `read`; all raise what the first of them met.
        """
        if group.world_size == 1:
            self.read(wishes)
            return
        parts, readers = list(parts_of(wishes)), group.first_of_each_machine()
        mine: Iterator[Sequence[memoryview]] = iter(())
        if group.rank in readers:
            mine = self._reader.fill(parts[readers.index(group.rank) :: len(readers)], _new_memory)
        content = torch.empty(max((part.bytes for part in parts), default=0) + 1, dtype=torch.uint8)
        content = content.to(group.device)
        failed: UserError | None = None
        for number, part in enumerate(parts):
            reader = readers[number % len(readers)]
            if group.rank == reader:
                try:
                    (memory,) = next(mine)
                    content[: part.bytes].copy_(torch.frombuffer(memory, dtype=torch.uint8))
                except UserError as error:
                    failed = error
                content[-1] = failed is not None
            group.broadcast(content, reader)
            if content[-1]:
                break
            part.take(content)
        group.each(lambda: _raised(failed))

    def whole(self, kind: str, group: ProcessGroup | None = None) -> dict[str, Tensor]:
        """All that was saved of a kind, by name, on the CPU.

        Args:
            group: processes that all want it, and read it together.

        Raises:
            DamagedError: what was read is not what was saved.
            CheckpointError: a part was not saved.
            StorageError: a file can't be read.
        """
        wholes = self._room_for(name for name in self.shapes if self.has(name, kind))
        wishes: list[Wish] = []
        for name, into in wholes.items():
            wishes += self.wishes(name, kind, 0, into.view(-1))
        if group is None:
            self.read(wishes)
        else:
            self.read_together(wishes, group)
        return wholes

    def one_by_one(self, kinds: Mapping[str, str]) -> Iterator[tuple[str, Tensor]]:
        """Parameters and buffers by name, on the CPU; not more of them in memory than fill 256 MiB, or one.

        Args:
            kinds: what of each is wanted, by name.

        Raises:
            DamagedError, CheckpointError, StorageError: as of `whole`.
        """
        waiting: list[str] = []
        size = 0
        for name in kinds:
            own = prod(self.shapes[name]) * self.dtypes[name].itemsize
            if waiting and size + own > _IN_MEMORY:
                yield from self._read_some(waiting, kinds)
                waiting, size = [], 0
            waiting.append(name)
            size += own
        yield from self._read_some(waiting, kinds)

    def _read_some(self, names: Sequence[str], kinds: Mapping[str, str]) -> Iterator[tuple[str, Tensor]]:
        found = self._room_for(names)
        wishes: list[Wish] = []
        for name, into in found.items():
            wishes += self.wishes(name, kinds[name], 0, into.view(-1))
        self.read(wishes)
        yield from found.items()

    def _room_for(self, names: Iterable[str]) -> dict[str, Tensor]:
        return {name: torch.empty(self.shapes[name], dtype=self.dtypes[name]) for name in names}


def _new_memory(part: Part) -> list[memoryview]:
    return [bytes_of(torch.empty(part.bytes, dtype=torch.uint8))]


def _raised(error: UserError | None) -> None:
    if error is not None:
        raise error
