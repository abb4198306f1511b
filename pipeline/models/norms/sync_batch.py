"""Batch norm over the micro-batches of all processes."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.modules._functions import SyncBatchNorm

from pipeline.models.norms.batch import BatchNorm2d


class SyncBatchNorm2d(BatchNorm2d):
    """Batch norm whose statistics are those of the micro-batches of all processes together.

    While it trains, each process gets what `BatchNorm2d` would give for its samples if all micro-batches were one, to
    rounding, and the running averages are the same on all. In one process, and in evaluation, it is `BatchNorm2d` to
    the bit. Parameters and buffers have the same names, so weights of one load into the other.

    Every forward pass in training mode, its recomputation and its backward pass wait for the other processes, which
    must do the same ones in the same order. Where gradients are accumulated, statistics are those of one micro-batch of
    each process, not of the whole batch. A number that is not finite in one process's micro-batch reaches all of them.
    """

    def forward(self, input: Tensor) -> Tensor:
        # on the meta device there is nothing to agree on, and one process may count FLOPs alone
        if not self.training or input.is_meta or not _has_others():
            return super().forward(input)
        return self._normalise_with_others(input)  # type: ignore[no-any-return]  # untyped by its decorator

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # torch leaves it untyped
    def _normalise_with_others(self, input: Tensor) -> Tensor:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        momentum = self.momentum or 0.0
        weight, bias = self.weight.float(), self.bias.float()
        if input.device.type == "cpu":
            mean, variance, count = _common_moments(input)
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), momentum)
            output = _Normalise.apply(input, weight, bias, mean, variance, count, self.eps)
        else:  # kernels of torch's own, which a CPU lacks
            averages, world = (self.running_mean, self.running_var), dist.group.WORLD
            size = dist.get_world_size()
            output = SyncBatchNorm.apply(input, weight, bias, *averages, self.eps, momentum, world, size)
        return output  # type: ignore[no-any-return]  # torch types what a function gives as Any


def _has_others() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


@torch.no_grad()
def _common_moments(input: Tensor) -> tuple[Tensor, Tensor, float]:
    """Means and biased variances [C] in float32 over the inputs [B, C, H, W] of all processes, and how many values a
    channel they are of."""
    channels = input.shape[1]
    # averages that nobody reads have the moments of 16-bit inputs computed in float32
    unread = torch.zeros(2, channels)
    mean, variance = torch.batch_norm_update_stats(input, unread[0], unread[1], 0.0)
    mean, variance = mean.double(), variance.double()
    sums = torch.cat([mean, variance + mean.square(), torch.ones(1)]) * (input.numel() // channels)
    dist.all_reduce(sums)
    count = float(sums[-1])
    mean, square = (sums[:-1] / count).chunk(2)
    # in double precision the difference of two large numbers is still exact enough
    return mean.float(), (square - mean.square()).clamp_min(0).float(), count


class _Normalise(torch.autograd.Function):
    """Batch norm [B, C, H, W] by moments [C] that depend on the inputs of all processes, on a CPU."""

    @staticmethod
    def forward(
        context: Any,
        input: Tensor,
        weight: Tensor,
        bias: Tensor,
        mean: Tensor,
        variance: Tensor,
        count: float,
        epsilon: float,
    ) -> Tensor:
        context.save_for_backward(input, weight, mean, variance)
        context.count, context.epsilon = count, epsilon
        return torch.native_batch_norm(input, weight, bias, mean, variance, False, 0.0, epsilon)[0]

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        input, weight, mean, variance = context.saved_tensors
        # as of constant moments, which is right for weight and bias: each process has its share of their gradients
        _, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, input, weight, mean, variance, None, None, False, context.epsilon, [False, True, True]
        )
        means = torch.stack([of_weight, of_bias])
        dist.all_reduce(means)
        means /= context.count
        # scale · (gradient − means[1] − means[0] · normalised input), as two products and a sum
        inverse = (variance + context.epsilon).rsqrt()
        scale = weight * inverse
        slope = -scale * inverse * means[0]
        shift = -scale * means[1] - slope * mean
        of_input = torch.addcmul(shift[:, None, None], input, slope[:, None, None])
        of_input.addcmul_(gradient, scale[:, None, None])
        return of_input.to(input.dtype), of_weight, of_bias, None, None, None, None
