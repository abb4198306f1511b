"""Modules whose buffers stay in 32-bit precision whatever the engine trains in."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class Float32Buffers(nn.Module):
    """A module that keeps its own floating-point buffers in float32 when it is cast to bf16 or fp16.

    Constants of the spectrogram lose audible precision in bf16, and running averages of batch norm stop moving.
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        kept = {name: buffer for name, buffer in self._buffers.items() if buffer is not None}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        for name, old in kept.items():
            new = self._buffers[name]
            if new is not None and old.dtype == torch.float32 and new.dtype != torch.float32:
                self._buffers[name] = old.to(new.device)
        return self
