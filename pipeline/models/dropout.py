"""Dropout that costs little on CPUs too, and stochastic depth."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_STEPS = 1 << 16
"""Rates are rounded to so many steps on CPUs."""
_FINE_STEPS = 1 << 24
"""Those of stochastic depth to so many, as float32 knows no more between 0 and 1."""


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


class DropPath(nn.Module):
    """Stochastic depth (Huang et al. 2016): a sample's whole change [B, …] is left out with a probability, and others
    grow so that the expectation stays.

    The rate is no number of Python's but lies in a buffer: layers that differ in it alone share one compiled graph,
    which is a minute of the start of a deep network. It is a whole number, which a model in 16 bits does not round.
    """

    steps: Tensor

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.register_buffer("steps", torch.empty((), dtype=torch.int32), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        self.steps.fill_(round(self.rate * _FINE_STEPS))

    def forward(self, change: Tensor) -> Tensor:
        """In evaluation the change as it is."""
        if not self.training:
            return change
        rate = self.steps / _FINE_STEPS
        # in float32, because bf16 knows 256 random numbers only
        kept = torch.rand(len(change), *[1] * (change.dim() - 1), device=change.device) >= rate
        return change * (kept / (1 - rate)).to(change.dtype)

    def extra_repr(self) -> str:
        return f"rate={self.rate}"


def drop_path(rate: float, most: float) -> nn.Module:
    """Stochastic depth for a layer of a network in which rates grow up to `most`: all layers are of one kind."""
    return DropPath(rate) if most else nn.Identity()


def drop_on_cpu(tensor: Tensor, rate: float) -> Tensor:
    """Dropout at a rate in [0, 1), rounded to 1/65 536, with random numbers of the device's own generator."""
    steps = min(round(rate * _STEPS), _STEPS - 1)
    bits = torch.empty(-(-tensor.numel() // 4), dtype=torch.int64, device=tensor.device).random_(-(1 << 63), None)
    dropped = (bits.view(torch.int16)[: tensor.numel()] < steps - _STEPS // 2).view(tensor.shape)
    del bits
    return tensor.masked_fill(dropped, 0) * (_STEPS / (_STEPS - steps))
