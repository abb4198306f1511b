"""Dropout that costs little on CPUs too."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_STEPS = 1 << 16
"""Rates are rounded to so many steps on CPUs."""


class Dropout(nn.Module):
    """Each number becomes 0 with a probability, and the others grow so that the expectation stays.

    Torch draws a CPU's masks one random number at a time, which takes longer than the attention that they are for;
    here 64 random bits serve four numbers.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, tensor: Tensor) -> Tensor:
        """The tensor, of any shape; in evaluation as it is."""
        if not self.training or self.rate == 0:
            return tensor
        if tensor.device.type != "cpu" or torch.compiler.is_compiling():
            return F.dropout(tensor, self.rate)
        return drop_on_cpu(tensor, self.rate)

    def extra_repr(self) -> str:
        return f"rate={self.rate}"


def drop_on_cpu(tensor: Tensor, rate: float) -> Tensor:
    """Dropout at a rate in [0, 1), rounded to 1/65 536, with random numbers of the device's own generator."""
    steps = min(round(rate * _STEPS), _STEPS - 1)
    bits = torch.empty(-(-tensor.numel() // 4), dtype=torch.int64, device=tensor.device).random_(-(1 << 63), None)
    dropped = (bits.view(torch.int16)[: tensor.numel()] < steps - _STEPS // 2).view(tensor.shape)
    del bits
    return tensor.masked_fill(dropped, 0) * (_STEPS / (_STEPS - steps))
