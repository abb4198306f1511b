"""A copy in host memory of what a process saves, beside which training goes on."""

import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from torch import Tensor

from pipeline.stream.device_copy import PinnedMemory


@dataclass
class _Stretch:
    """Bytes of a tensor's memory, and where in the copy they go."""

    storage: torch.UntypedStorage
    device: torch.device
    begin: int
    size: int
    to: int


class HostCopy:
    """Copies tensors into one stretch of host memory, as they will lie in a file.

    Weights and states change when the optimiser steps and not before, so they are only noted at first, and copied
    beside the forward and backward passes; what lies side by side goes at one go. The memory (pinned, where there is a
    GPU) is kept and used again: memory that was never touched takes several times as long to write to.
    """

    def __init__(self) -> None:
        self._memory = torch.empty(0, dtype=torch.uint8)
        self._release: Callable[[], Any] = bool  # nothing is pinned yet
        self._noted: list[_Stretch] = []
        self._ready: Any = None
        self._device = 0

    def note(self, header: bytes, size: int, tensors: Iterable[tuple[Tensor, int]], changing: Sequence[Tensor]) -> None:
        """Begin a copy; that of the save before must no longer be in use.

        Args:
            header: its first bytes.
            size: bytes of the whole.
            tensors: contiguous ones, and the byte of the copy at which each begins.
            changing: those that change before the optimiser steps; they are copied at once.
        """
        if self._memory.numel() != size:
            self._release()
            self._memory = torch.empty(0, dtype=torch.uint8)  # before there are two
            self._memory = torch.empty(size, dtype=torch.uint8)
            if torch.cuda.is_available():
                # not by torch's own pinned memory, of which it takes the next power of two
                pinned = PinnedMemory(self._memory.numpy().data, torch.device("cuda", torch.cuda.current_device()))
                release = weakref.finalize(self, pinned.release)
                release.atexit = False  # with the process it goes anyway
                self._release = release
        self._memory[: len(header)] = torch.frombuffer(bytearray(header), dtype=torch.uint8)
        soon = {tensor.data_ptr() for tensor in changing}
        self._noted = []
        for tensor, to in sorted(tensors, key=lambda placed: placed[1]):
            one = _stretch(tensor.detach(), to)
            if tensor.data_ptr() in soon:
                self._memory[to : to + one.size].copy_(_bytes(one))
            elif not self._noted or not _joined(self._noted[-1], one):
                self._noted.append(one)
        if torch.cuda.is_available():  # what computes them may not be done on the GPU yet
            self._ready = torch.cuda.current_stream().record_event()
            self._device = torch.cuda.current_device()  # a thread of its own begins at the first

    def take(self) -> memoryview:
        """Copy what was noted, from any thread, before the optimiser steps."""
        stream: Any = None
        if self._ready is not None:
            stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
            stream.wait_event(self._ready)
        with torch.cuda.stream(stream):  # of None nothing comes
            for one in self._noted:
                goal = self._memory[one.to : one.to + one.size]
                if one.device.type == "cpu":
                    # one thread copies as fast as memory allows, and doesn't take the cores that compute
                    numpy.copyto(goal.numpy(), _bytes(one).numpy())
                else:
                    goal.copy_(_bytes(one), non_blocking=True)
        if stream is not None:
            stream.synchronize()
        self._noted = []
        return self._memory.numpy().data


def _stretch(tensor: Tensor, to: int) -> _Stretch:
    begin = int(tensor.storage_offset()) * tensor.element_size()
    return _Stretch(tensor.untyped_storage(), tensor.device, begin, tensor.nbytes, to)


def _joined(before: _Stretch, one: _Stretch) -> bool:
    """Add a stretch to the one before where it goes on there, in memory and in the copy."""
    beside = before.begin + before.size == one.begin and before.to + before.size == one.to
    if not beside or before.storage.data_ptr() != one.storage.data_ptr() or before.device != one.device:
        return False
    before.size += one.size
    return True


def _bytes(one: _Stretch) -> Tensor:
    flat = torch.empty(0, dtype=torch.uint8, device=one.device)
    return flat.set_(one.storage, one.begin, (one.size,), (1,))
