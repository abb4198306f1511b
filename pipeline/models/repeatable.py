"""Means and resampling as torch's, with backward passes that repeat to the bit on a GPU too, where torch's own end a
run with `train.deterministic`."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def mean_of_parts(values: Tensor, parts: int) -> Tensor:
    """Of values [B, D, T] the mean over each of so many parts of their time, [B, D, parts]."""
    return _as_product(values, lambda rows: F.adaptive_avg_pool1d(rows, parts))


def resampled(values: Tensor, times: int) -> Tensor:
    """Of [B, D, T] as many as are wanted, evenly over the same time."""
    return _as_product(values, lambda rows: F.interpolate(rows, times, mode="linear", align_corners=False))


class AverageOfFrames(nn.AvgPool3d):
    """Means over places of clips [B, C, T, H, W], each frame by itself: of what is given for time nothing is used."""

    def forward(self, clips: Tensor) -> Tensor:
        kernel, stride, padding = (_over_places(one) for one in (self.kernel_size, self.stride, self.padding))
        pooled = F.avg_pool2d(clips.flatten(1, 2), kernel, stride, padding)
        return pooled.view(*clips.shape[:3], *pooled.shape[2:])


def _over_places(sides: int | tuple[int, int, int]) -> tuple[int, int]:
    return (sides, sides) if isinstance(sides, int) else sides[1:]


def _as_product(values: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """A linear change of the last axis by its matrix, which has no gradient."""
    rows = torch.eye(values.shape[-1], dtype=values.dtype, device=values.device)
    return values @ change(rows[None])[0]
