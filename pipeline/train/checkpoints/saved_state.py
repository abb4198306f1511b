"""The parameters, moments and buffers in a checkpoint's files, by name, whatever shared them out when it was saved."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from pipeline.errors import CheckpointError
from pipeline.train.checkpoints.host_copy import HostCopy, StatePlace, value_at
from pipeline.train.checkpoints.layout import rank_file
from pipeline.train.engine.files import read_state
from pipeline.train.engine.fragments import MASTER, Fragment


@dataclass(frozen=True)
class _Piece:
    start: int
    size: int
    place: StatePlace


def describe(held: Iterable[Fragment], copies: HostCopy) -> list[dict[str, Any]]:
    """Where the copies of a process's fragments lie, as JSON.

    Raises:
        CheckpointError: something was not copied, of which the checkpoint would have nothing.
    """
    rows = []
    for fragment in held:
        found = {}
        for kind, piece in fragment.kinds.items():
            if not piece.numel():  # a frozen parameter with fewer numbers than ZeRO-3 has processes
                continue
            place = copies.place(piece)
            if place is None:
                raise CheckpointError(f"{kind} of {fragment.name}: DeepSpeed has handed over nothing of it to save")
            found[kind] = [place.file, list(place.path), place.offset]
        dtype = str(fragment.kinds[MASTER].dtype).removeprefix("torch.")
        row = {"name": fragment.name, "shape": fragment.shape, "dtype": dtype}
        rows.append(row | {"start": fragment.start, "size": fragment.size, "kinds": found})
    return rows


class SavedState:
    """A checkpoint's numbers; they are read from disk when they are asked for.

    Attributes:
        shapes: of all parameters and persistent buffers, by name.
        dtypes: of the same; parameters have their master weights'.
    """

    def __init__(self, folder: Path, world_size: int) -> None:
        self.folder = folder
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.dtypes: dict[str, torch.dtype] = {}
        self._pieces: dict[tuple[str, str], list[_Piece]] = defaultdict(list)
        self._files: dict[str, Mapping[str, Any]] = {}
        for rank in range(world_size):
            for row in json.loads((folder / rank_file(rank)).read_text(encoding="utf-8"))["fragments"]:
                self.shapes[row["name"]] = tuple(row["shape"])
                self.dtypes[row["name"]] = getattr(torch, row["dtype"])
                for kind, (file, path, offset) in row["kinds"].items():
                    piece = _Piece(row["start"], row["size"], StatePlace(file, tuple(path), offset))
                    self._pieces[row["name"], kind].append(piece)

    def has(self, name: str, kind: str) -> bool:
        """Whether anything of it was saved."""
        return (name, kind) in self._pieces

    def size(self, name: str) -> int:
        """Numbers in a parameter."""
        return prod(self.shapes[name])

    def read(self, name: str, kind: str, start: int, into: Tensor) -> None:
        """Read a stretch of a parameter from number `start` on, as many numbers as `into` takes.

        Raises:
            CheckpointError: a part of it was not saved.
        """
        end, left = start + into.numel(), into.numel()
        for piece in self._pieces.get((name, kind), []):
            begin, stop = max(start, piece.start), min(end, piece.start + piece.size)
            if begin < stop:
                at = piece.place.offset + begin - piece.start
                into[begin - start : stop - start].copy_(self._tensor(piece.place)[at : at + stop - begin])
                left -= stop - begin
        if left:
            raise CheckpointError(f"{self.folder}: {kind} of {name} is not wholly in its files")

    def whole(self, name: str, kind: str = MASTER) -> Tensor:
        """All of a parameter, on the CPU.

        Raises:
            CheckpointError: a part of it was not saved.
        """
        whole = torch.empty(self.size(name), dtype=self.dtypes[name])
        self.read(name, kind, 0, whole)
        return whole.view(self.shapes[name])

    def kinds(self) -> list[str]:
        """Kinds of which something was saved."""
        return sorted({kind for _, kind in self._pieces})

    def _tensor(self, place: StatePlace) -> Tensor:
        if place.file.endswith(".safetensors"):
            with safe_open(self.folder / place.file, framework="pt") as file:
                stored: Tensor = file.get_tensor(str(place.path[0]))
                return stored.reshape(-1)
        if place.file not in self._files:
            self._files[place.file] = read_state(self.folder / place.file)
        tensor = value_at(self._files[place.file], place.path)
        assert isinstance(tensor, Tensor)
        return tensor.reshape(-1)
