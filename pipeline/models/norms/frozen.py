"""Batch norm with statistics that training leaves alone."""

import torch
from torch import Tensor

from pipeline.features.float32 import Float32Buffers


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
