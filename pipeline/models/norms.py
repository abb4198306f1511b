"""Norms of convolutional embedders."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from pipeline.features.float32 import Float32Buffers

_GROUPS = 8


def norm_layer(norm: Literal["batch", "group", "frozen"]) -> Callable[[int], nn.Module]:
    """What makes a norm over that many channels."""
    if norm == "batch":
        return BatchNorm2d
    return FrozenBatchNorm2d if norm == "frozen" else _group_norm


class BatchNorm2d(Float32Buffers, nn.BatchNorm2d):
    """Batch norm whose means and averages are computed in float32; input and output keep their own precision."""

    def forward(self, input: Tensor) -> Tensor:
        if input.dtype == torch.float32:
            return super().forward(input)
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        return nn.functional.batch_norm(
            input,
            self.running_mean,
            self.running_var,
            self.weight.float(),
            self.bias.float(),
            self.training,
            self.momentum or 0.0,
            self.eps,
        )


class FrozenBatchNorm2d(Float32Buffers):
    """Batch norm whose statistics, scale and shift are constants [C], kept and applied in float32."""

    def __init__(self, channels: int, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.epsilon = epsilon
        # not named running_…, because training averages those over the processes
        for name in ("weight", "bias", "mean", "variance"):
            self.register_buffer(name, torch.empty(channels))

    weight: Tensor
    bias: Tensor
    mean: Tensor
    variance: Tensor

    def reset_parameters(self) -> None:
        """Begin as the identity."""
        self.weight.fill_(1)
        self.bias.zero_()
        self.mean.zero_()
        self.variance.fill_(1)

    def forward(self, input: Tensor) -> Tensor:
        scale = self.weight * (self.variance + self.epsilon).rsqrt()
        shift = self.bias - self.mean * scale
        normal = input.float() * scale[:, None, None] + shift[:, None, None]
        return normal.to(input.dtype)


def _group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(_GROUPS, channels)
