"""Copies of DeepSpeed's states in host memory, beside which training goes on."""

import copy
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Path = tuple[str | int, ...]
"""Keys that lead from a state's top to one tensor."""


@dataclass(frozen=True)
class Place:
    """Where a piece of memory lies in a saved state.

    Attributes:
        file: name of the file.
        path: keys of the tensor in it.
        offset: numbers before the piece in that tensor.
    """

    file: str
    path: Path
    offset: int


class HostCopy:
    """Copies states into host memory, and remembers which memory went where.

    The buffers (pinned, where there is a GPU) are kept and used again: memory that was never touched takes several
    times as long to write to.
    """

    def __init__(self) -> None:
        self._buffers: dict[tuple[str, Path], Tensor] = {}
        self._places: dict[int, tuple[int, str, Path]] = {}
        self._starts: list[int] = []

    def begin(self) -> None:
        """Forget where things went before; the buffers must no longer be in use."""
        self._places = {}

    def add(self, file: str, state: Any) -> Any:
        """A copy of a file's state; what is no tensor is copied too."""
        taken = self._copied(file, (), state)
        self._starts = sorted(self._places)
        return taken

    def end(self) -> None:
        """Wait until everything has arrived."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    def place(self, piece: Tensor) -> Place | None:
        """Where the copy of this memory lies; None if it was not copied."""
        at = bisect_right(self._starts, piece.data_ptr())
        for begin in reversed(self._starts[:at]):  # nearly always the first
            end, file, path = self._places[begin]
            if piece.data_ptr() + piece.numel() * piece.element_size() <= end:
                return Place(file, path, (piece.data_ptr() - begin) // piece.element_size())
        return None

    def _copied(self, file: str, path: Path, value: Any) -> Any:
        if isinstance(value, Tensor):
            return self._tensor(file, path, value)
        if isinstance(value, Mapping):
            pairs = [(key, self._copied(file, (*path, key), inner)) for key, inner in value.items()]
            return OrderedDict(pairs) if isinstance(value, OrderedDict) else dict(pairs)
        if type(value) in (list, tuple):
            return type(value)(self._copied(file, (*path, at), inner) for at, inner in enumerate(value))
        return copy.deepcopy(value)

    def _tensor(self, file: str, path: Path, tensor: Tensor) -> Tensor:
        tensor = tensor.detach()
        buffer = self._buffers.get((file, path))
        if buffer is None or buffer.shape != tensor.shape or buffer.dtype != tensor.dtype:
            pinned = tensor.device.type == "cuda"
            buffer = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=pinned)
            self._buffers[file, path] = buffer
        buffer.copy_(tensor, non_blocking=True)
        if tensor.numel() and tensor.is_contiguous():
            begin, size = tensor.data_ptr(), tensor.numel() * tensor.element_size()
            # of two that begin alike the longer one holds the other
            if begin not in self._places or self._places[begin][0] < begin + size:
                self._places[begin] = (begin + size, file, path)
        return buffer


def value_at(state: Any, path: Iterable[str | int]) -> Any:
    """The value to which keys lead."""
    for key in path:
        state = state[key]
    return state
