"""Two frames in one: duets of which both sounds are known, as VGGSound-Duet is made."""

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.evaluate.token_weights import token_weights
from pipeline.models.contract import TokenGrid
from pipeline.samples.metadata import Box


def side_by_side(frames: Tensor) -> Tensor:
    """Of frames [2·P, T, 3, K, K] both of each pair in one, each half as wide; for both the same."""
    pairs = frames.reshape(-1, 2, *frames.shape[1:])
    whole = torch.cat([pairs[:, 0], pairs[:, 1]], dim=-1)  # [P, T, 3, K, 2·K]
    side = frames.shape[-1]
    small = functional.interpolate(whole.flatten(0, 1), size=(side, side), mode="bilinear", antialias=True)
    return small.view(*whole.shape[:4], side).repeat_interleave(2, 0)


def weights_in_half(grid: TokenGrid, place: Box, which: int) -> Tensor:
    """[N] the visual tokens of a place of a frame that stands as the left or the right one of two side by side; none
    that lie on the other."""
    x1, y1, x2, y2 = place
    weights = token_weights(grid, ((x1 + which) / 2, y1, (x2 + which) / 2, y2)).view(grid.shape)
    weights = weights * torch.tensor([(centre >= 0.5) == which for centre in grid.centres("column")])
    return (weights / weights.sum()).flatten()
