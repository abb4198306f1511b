"""Which visual tokens a place of the frame is."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pipeline.models.contract import TokenGrid
from pipeline.samples.metadata import Box

_POINT = 1e-6
"""A side of a box that is shorter is none: the place is a point."""


def token_weights(grid: TokenGrid, box: Box) -> Tensor:
    """[N] how much of a place each visual token is, 1 in all: a point is the tokens around it, bilinearly between their
    centres; of a box each counts by how much of the token's cell lies in it. Of several frames it is the middle one's
    tokens.

    Args:
        box: `[x1, y1, x2, y2]` in 0–1 of the square that the model sees; a point is a box without size.
    """
    frames, rows, columns = grid.shape
    x1, y1, x2, y2 = box
    weights = torch.zeros(frames, rows, columns)
    weights[frames // 2] = _along(grid.centres("row"), y1, y2)[:, None] * _along(grid.centres("column"), x1, x2)
    return weights.flatten()


def _along(centres: Sequence[float], low: float, high: float) -> Tensor:
    """[tokens] how much of a stretch of an axis of length 1 each token is, 1 in all.

    Args:
        centres: of the tokens, rising; a cell reaches half the way to the next one's.
    """
    if high - low < _POINT:
        at = float(np.interp((low + high) / 2, centres, range(len(centres))))
        return (1 - (torch.arange(len(centres)) - at).abs()).clamp(min=0)
    middles = np.array(centres)
    edges = torch.tensor([0.0, *((middles[1:] + middles[:-1]) / 2), 1.0])
    inside = (edges[1:].clamp(max=high) - edges[:-1].clamp(min=low)).clamp(min=0)
    if not inside.sum():  # what is left of it lies on the very edge
        nearest = min(max(low, 0.0), 1.0)
        return _along(centres, nearest, nearest)
    return inside / inside.sum()
