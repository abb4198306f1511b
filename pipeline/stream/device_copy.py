"""Batches on their way to a device."""

import logging
from typing import Any

import numpy as np
import torch

from pipeline.stream.batch import Batch

_log = logging.getLogger(__name__)


class PinnedMemory:
    """Registers memory that is there for copies to a GPU, which run beside all else then; does nothing for a CPU.

    One that can't be registered is copied from more slowly, which is said.
    """

    def __init__(self, memory: memoryview, device: torch.device) -> None:
        self._address: int | None = None
        if device.type != "cuda":
            return
        address = np.frombuffer(memory, np.uint8).ctypes.data
        with torch.cuda.device(device):
            error = _cuda().cudaHostRegister(address, memory.nbytes, 0)
        if int(error):
            said = _cuda().cudaGetErrorString(error)
            _log.warning("%.0f MiB of host memory can't be pinned (%s): copies wait", memory.nbytes / 2**20, said)
        else:
            self._address = address

    def release(self) -> None:
        """Before the memory goes."""
        if self._address is not None:
            _cuda().cudaHostUnregister(self._address)
            self._address = None


def _cuda() -> Any:
    """CUDA's runtime."""
    return torch.cuda.cudart()  # type: ignore[no-untyped-call]  # torch doesn't declare it


class DeviceCopy:
    """Copies batches to a device, beside what is computed there: for a thread that may wait for it."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch doesn't declare it

    def __call__(self, batch: Batch) -> Batch:
        """The batch on the device, whole; what it was read into may be filled again."""
        if self._stream is None:
            return batch.to(self._device)
        users = torch.cuda.current_stream(self._device)  # the device's own, as that of the training thread
        # a thread begins with the first GPU, on which going back to its stream would open another process's context
        with torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            copied = batch.to(self._device)
        for tensor in copied.all_tensors():
            tensor.record_stream(users)
        self._stream.synchronize()
        return copied
