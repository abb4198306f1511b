"""Tokens by the moments at which they lie."""

import torch
from torch import Tensor

from pipeline.models.contract import TokenGrid

TIME = "time"
"""The axis of a grid along which time passes."""


def by_time(tokens: Tensor, grid: TokenGrid) -> Tensor:
    """Tokens [B, N, D] of a stream as [B, T, P, D]: at each of its times those of all other axes. T is 1 where the
    stream has no times."""
    if TIME not in grid.names:
        return tokens[:, None]
    axis, (batch, _, width) = grid.names.index(TIME), tokens.shape
    timed = tokens.reshape(batch, *grid.shape, width).movedim(1 + axis, 1)
    return timed.reshape(batch, grid.shape[axis], -1, width)


def in_segments(moments: Tensor, count: int) -> Tensor:
    """Means [B, count, D] over equal parts of a stretch of time of [B, T, D], which share it evenly: what lies across a
    border counts on both sides, by its part there."""
    shares = overlaps(count, moments.shape[1], moments)
    return torch.einsum("st,btd->bsd", shares, moments)


def overlaps(count: int, times: int, like: Tensor) -> Tensor:
    """[count, times] how much of each of `count` equal parts of a stretch lies in each of `times` equal ones; rows add
    up to 1."""
    parts = torch.arange(count, device=like.device, dtype=torch.float64)[:, None] / count
    shares = torch.arange(times, device=like.device, dtype=torch.float64) / times
    begin, end = torch.maximum(parts, shares), torch.minimum(parts + 1 / count, shares + 1 / times)
    return ((end - begin).clamp(min=0) * count).to(like.dtype)
