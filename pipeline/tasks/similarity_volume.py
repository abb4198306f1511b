"""How alike the visual tokens of some frames and the audio tokens of some sounds are: a number for each two of them.

Frames and sounds lie in sets [G, …], and only those of one set are compared. Every number is a cosine of one head.
"""

from itertools import combinations
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.models.contract import TokenGrid


def visual_directions(tokens: Tensor, heads: int) -> Tensor:
    """Tokens [B, N, D] as directions [B, N, K, d] of each head, of length 1."""
    return F.normalize(tokens.float().view(*tokens.shape[:2], heads, -1), dim=3)


def audio_directions(tokens: Tensor, grid: TokenGrid, heads: int) -> Tensor:
    """Tokens [B, N, D] as mean directions [B, T, K, d] of each head over the frequencies of a time. A similarity with
    it is the mean of those with all tokens of that time."""
    directions = grid.laid_out(visual_directions(tokens, heads))
    times = grid.names.index("time") + 1 if "time" in grid.names else None
    others = [axis for axis in range(1, len(grid.shape) + 1) if axis != times]
    averaged: Tensor = directions.mean(others) if others else directions
    return averaged if times is not None else averaged[:, None]


def heard_times(sound: Tensor, times: int) -> Tensor:
    """Which of so many stretches of each sound [B, C, S] are not digital silence, [B, T]; all of a sound that is
    nothing else."""
    loudest = F.adaptive_max_pool1d(sound.abs().amax(1)[:, None], times)[:, 0]
    heard = loudest > 0
    return heard | ~heard.any(1, keepdim=True)


def volume(seen: Tensor, heard: Tensor) -> Tensor:
    """Similarities [G, b, c, K, T, N] of frames [G, b, N, K, d] and sounds [G, c, T, K, d]."""
    sets, frames, places, heads, _ = seen.shape
    sounds, times = heard.shape[1:3]
    product = torch.einsum("ghxd,ghyd->ghxy", _by_head(seen), _by_head(heard))
    product = product.view(sets, heads, frames, places, sounds, times)
    return product.permute(0, 2, 4, 1, 5, 3)


def _by_head(directions: Tensor) -> Tensor:
    """[G, b, N, K, d] → [G, K, b·N, d]"""
    return directions.permute(0, 3, 1, 2, 4).flatten(2, 3)


def pool(similar: Tensor, heard: Tensor, over_space: Literal["log_mean_exp", "max"], gamma: float) -> Tensor:
    """Similarities [G, b, c, K, T, N] as one of each pair [G, b, c]: the highest head, pooled over places, averaged
    over the times [G, c, T] that are heard."""
    highest = similar[:, :, :, 0] if similar.shape[3] == 1 else similar.amax(3)
    pooled = highest.amax(4) if over_space == "max" else log_mean_exp(highest, gamma)
    return _mean(pooled, heard[:, None])


def log_mean_exp(cosines: Tensor, gamma: float) -> Tensor:
    """Cosines [..., N] as one [...] between their mean, where γ is near 0, and their maximum, where it is large. γ is
    at most 40, so that of float32 nothing becomes 0."""
    mean_exp = (gamma * (cosines - 1)).exp().mean(-1)  # no cosine is above 1, so that nothing overflows
    return mean_exp.log() / gamma + 1


def _mean(values: Tensor, counted: Tensor) -> Tensor:
    """Over the last axis, of what counts."""
    weights = counted.to(values.dtype)
    return (values * weights).sum(-1) / weights.sum(-1)


def negative_part(similar: Tensor) -> Tensor:
    """Mean of min(s, 0)²."""
    return similar.clamp_max(0).square().mean()


def in_silence(similar: Tensor, silent: Tensor) -> Tensor:
    """Mean of |s| of [G, b, c, K, T, N], taken as 0 but at the times [G, c, T] that are silent."""
    return (similar.abs() * silent[:, None, :, None, :, None]).mean()


def total_variation(own: Tensor) -> Tensor:
    """Mean square of the change over time of [B, K, T, N]; 0 of one time."""
    return own.diff(dim=2).square().mean() if own.shape[2] > 1 else own.new_zeros(())


def entanglement(own: Tensor) -> Tensor:
    """Mean of |sₖ · sₗ| over each two heads of [B, K, T, N]; 0 of one head."""
    pairs = list(combinations(range(own.shape[1]), 2))
    products = [(own[:, one] * own[:, other]).abs().mean() for one, other in pairs]
    return torch.stack(products).mean() if products else own.new_zeros(())
