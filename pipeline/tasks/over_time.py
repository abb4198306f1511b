"""Tokens by the moments at which they lie."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.models.contract import TokenGrid

TIME = "time"
"""The axis of a grid along which time passes."""
Stretch = tuple[float, float]
"""Begin and end, on any clock."""


def by_time(tokens: Tensor, grid: TokenGrid) -> Tensor:
    """Tokens [B, N, D] of a stream as [B, T, P, D]: at each of its times those of all other axes. T is 1 where the
    stream has no times. Tokens that stand for all are of no time."""
    laid = grid.laid_out(tokens)
    timed = laid.movedim(1 + grid.names.index(TIME), 1) if TIME in grid.names else laid[:, None]
    return timed.reshape(*timed.shape[:2], -1, timed.shape[-1])


def stretch_of(moments: Sequence[float]) -> Stretch:
    """The stretch of time that evenly spaced moments, two or more, lie in the middles of."""
    half = (moments[-1] - moments[0]) / (len(moments) - 1) / 2
    return moments[0] - half, moments[-1] + half


def in_segments(moments: Tensor, count: int, all_of: Stretch = (0.0, 1.0), segmented: Stretch = (0.0, 1.0)) -> Tensor:
    """Means [B, count, D] over equal segments of a stretch of time, of moments [B, T, D] that share a stretch of their
    own evenly: what lies across a border counts on both sides, by its part there.

    Args:
        all_of: the stretch that the moments share.
        segmented: the stretch that is cut into segments, on the same clock; no segment lies beside the other.
    """
    (begin, end), (first, last), times = all_of, segmented, moments.shape[1]
    each = torch.arange(times, device=moments.device, dtype=torch.float64) * ((end - begin) / times) + begin
    part = torch.arange(count, device=moments.device, dtype=torch.float64)[:, None] * ((last - first) / count) + first
    until = torch.minimum(each + (end - begin) / times, part + (last - first) / count)
    shared = (until - torch.maximum(each, part)).clamp(min=0)
    shares = (shared / shared.sum(1, keepdim=True)).to(moments.dtype)
    return torch.einsum("st,btd->bsd", shares, moments)
