"""Batch norm over one process's micro-batch."""

import torch
from torch import Tensor, nn

from pipeline.features.float32 import Float32Buffers


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
