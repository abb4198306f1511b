"""Copies of DeepSpeed's states in host memory, beside which training goes on."""

import copy
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from torch import Tensor

Path = tuple[str | int, ...]
"""Keys that lead from a state's top to one tensor."""


@dataclass(frozen=True)
class StatePlace:
    """Where a piece of memory lies in a saved state.

    Attributes:
        file: name of the file.
        path: keys of the tensor in it.
        offset: numbers before the piece in that tensor.
    """

    file: str
    path: Path
    offset: int


_AT_ONCE = 1 << 16
"""Bytes of a tensor that is copied at once: steps, norms, biases."""


class HostCopy:
    """Copies states into host memory, and remembers which memory went where.

    Weights and moments change when the optimiser steps and not before, so they are only noted at first, and copied
    beside the forward and backward passes. The buffers (pinned, where there is a GPU) are kept and used again: memory
    that was never touched takes several times as long to write to.
    """

    def __init__(self) -> None:
        self._noted: list[tuple[Tensor, Tensor]] = []
        self._kept: list[Tensor] = []
        self._changing: set[int] = set()
        self._ready: Any = None
        self._device = 0
        self._buffers: dict[tuple[str, Path], Tensor] = {}
        self._places: dict[int, tuple[int, str, Path]] = {}
        self._starts: list[int] = []

    def begin(self, changing: Iterable[Tensor]) -> None:
        """Forget where things went before; the buffers must no longer be in use.

        Args:
            changing: tensors that change before the optimiser steps; they are copied at once.
        """
        self._places, self._noted, self._kept = {}, [], []
        self._changing = {tensor.data_ptr() for tensor in changing}

    def add(self, file: str, state: Any) -> Any:
        """What a copy of a file's state will be after `take`; what is no tensor is copied at once."""
        taken = self._copied(file, (), state)
        self._starts = sorted(self._places)
        return taken

    def end(self) -> None:
        """All is noted, and no place will be asked for any more; what computes it may not be done on the GPU yet."""
        self._kept = []
        if torch.cuda.is_available():
            self._ready = torch.cuda.current_stream().record_event()
            self._device = torch.cuda.current_device()  # a thread of its own begins at the first

    def take(self) -> None:
        """Copy what was noted, from any thread, before the optimiser steps."""
        stream: Any = None
        if self._ready is not None:
            stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
            stream.wait_event(self._ready)
        with torch.cuda.stream(stream):  # of None nothing comes
            for buffer, tensor in self._noted:
                if tensor.device.type == "cpu" and tensor.is_contiguous():
                    # one thread copies as fast as memory allows, and doesn't take the cores that compute
                    numpy.copyto(_bytes(buffer), _bytes(tensor))
                else:
                    buffer.copy_(tensor, non_blocking=True)
        if stream is not None:
            stream.synchronize()
        self._noted = []

    def place(self, piece: Tensor) -> StatePlace | None:
        """Where the copy of this memory lies; None if it was not copied."""
        at = bisect_right(self._starts, piece.data_ptr())
        for begin in reversed(self._starts[:at]):  # nearly always the first
            end, file, path = self._places[begin]
            if piece.data_ptr() + piece.numel() * piece.element_size() <= end:
                return StatePlace(file, path, (piece.data_ptr() - begin) // piece.element_size())
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
        if tensor.nbytes <= _AT_ONCE or tensor.data_ptr() in self._changing:
            buffer.copy_(tensor)
        else:
            self._noted.append((buffer, tensor))
        self._kept.append(tensor)  # so that no other memory gets its address as long as places are asked for
        if tensor.numel() and tensor.is_contiguous():
            begin, size = tensor.data_ptr(), tensor.numel() * tensor.element_size()
            # of two that begin alike the longer one holds the other
            if begin not in self._places or self._places[begin][0] < begin + size:
                self._places[begin] = (begin + size, file, path)
        return buffer


def _bytes(tensor: Tensor) -> Any:
    return tensor.view(-1).view(torch.uint8).numpy()


def value_at(state: Any, path: Iterable[str | int]) -> Any:
    """The value to which keys lead."""
    for key in path:
        state = state[key]
    return state
