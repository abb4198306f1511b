"""Which tokens of a grid stay visible while the others are hidden, and the cells of an image that they look at."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.models.contract import TokenGrid
from pipeline.stream.randomness import keyed_generator

Axes = tuple[str, ...]
STRATEGIES: dict[str, tuple[Axes, ...]] = {
    "random": ((),),
    "tube": (("row", "column"),),
    "time": (("time",),),
    "frequency": (("frequency",),),
    "time_frequency": (("time",), ("frequency",)),
}
"""By name, groups of axes: of each group some places are visible, and a token is so where all of its places are. A
group of none is of all axes."""


@dataclass(frozen=True)
class Hiding:
    """How much of a grid is hidden, and in what pieces. The number of visible tokens is the same in every draw."""

    grid: TokenGrid
    strategy: str
    masked: float

    @property
    def visible(self) -> int:
        """Tokens that stay visible: at least one, and not all."""
        rest = prod(length for name, length in self.grid.axes if name not in self._named)
        return rest * prod(kept for _, kept in self._counts)

    def draw(self, seed: int, purpose: str, positions: Sequence[int]) -> Tensor:
        """Indices [B, visible] of the visible tokens of the samples at global positions, in rising order; each draw is
        keyed by its position."""
        drawn = [self._draw(keyed_generator(seed, purpose, position)) for position in positions]
        return torch.from_numpy(np.stack(drawn))

    @property
    def _groups(self) -> list[Axes]:
        return [group or self.grid.names for group in STRATEGIES[self.strategy]]

    @property
    def _named(self) -> set[str]:
        return {name for group in self._groups for name in group}

    @property
    def _counts(self) -> list[tuple[int, int]]:
        """Of each group, places in all and those that stay visible."""
        share = (1 - self.masked) ** (1 / len(self._groups))
        lengths = dict(self.grid.axes)
        counts = [prod(lengths[name] for name in group) for group in self._groups]
        return [(count, min(max(round(share * count), 1), max(count - 1, 1))) for count in counts]

    def _draw(self, generator: np.random.Generator) -> npt.NDArray[np.int64]:
        seen = np.ones(self.grid.shape, dtype=bool)
        lengths = dict(self.grid.axes)
        for group, (count, kept) in zip(self._groups, self._counts, strict=True):
            chosen = np.zeros(count, dtype=bool)
            chosen[generator.permutation(count)[:kept]] = True
            seen &= chosen.reshape([lengths[name] if name in group else 1 for name in self.grid.names])
        return np.flatnonzero(seen)


def hidden_of(visible: Tensor, count: int) -> Tensor:
    """Of indices [B, n] of visible tokens, which of all [B, N] are hidden: 1, or 0 where they are visible."""
    return torch.ones(len(visible), count, device=visible.device).scatter_(1, visible, 0.0)


def tokens_at(tokens: Tensor, places: Tensor) -> Tensor:
    """The tokens [B, n, D] of [B, N, D] at places [B, n]."""
    return tokens.gather(1, places[:, :, None].expand(-1, -1, tokens.shape[2]))


def cells_of(image: Tensor, grid: TokenGrid) -> Tensor:
    """An image [B, T, C, H, W] as the cells of its tokens [B, N, C·h·w], in the tokens' order.

    The grid's last two axes lie over H and W; what it has before them lies over T.
    """
    return _cut(image, grid).permute(0, 1, 3, 5, 2, 4, 6).flatten(1, 3).flatten(2)


def image_of(cells: Tensor, grid: TokenGrid, like: Tensor) -> Tensor:
    """The image [B, T, C, H, W], of the shape of another, whose cells these are."""
    batch, frames, channels, height, width = like.shape
    rows, columns = grid.shape[-2:]
    apart = cells.view(batch, frames, rows, columns, channels, height // rows, width // columns)
    return apart.permute(0, 1, 4, 2, 5, 3, 6).reshape(like.shape)


def without_hidden(image: Tensor, hidden: Tensor, grid: TokenGrid) -> Tensor:
    """An image with zeros where tokens are hidden [B, N], as beyond its edges: embedders whose tokens overlap see
    nothing of what has to be rebuilt."""
    frames, (rows, columns) = image.shape[1], grid.shape[-2:]
    shown = (1 - hidden).view(len(image), frames, 1, rows, 1, columns, 1)
    return (_cut(image, grid) * shown.to(image.dtype)).view(image.shape)


def _cut(image: Tensor, grid: TokenGrid) -> Tensor:
    """[B, T, C, rows, h, columns, w]"""
    batch, frames, channels, height, width = image.shape
    rows, columns = grid.shape[-2:]
    return image.reshape(batch, frames, channels, rows, height // rows, columns, width // columns)
