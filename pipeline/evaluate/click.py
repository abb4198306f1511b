"""Which visual tokens a click is."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pipeline.models.contract import TokenGrid


def click_weights(grid: TokenGrid, x: float, y: float) -> Tensor:
    """[N] how much of a point of the frame each visual token is, 1 in all: bilinear between the centres of the tokens
    around it; of several frames those of the middle one.

    Args:
        x, y: in 0–1 of the square that the model sees.
    """
    frames, rows, columns = grid.shape
    weights = torch.zeros(frames, rows, columns)
    weights[frames // 2] = along(grid.centres("row"), y)[:, None] * along(grid.centres("column"), x)
    return weights.flatten()


def along(centres: Sequence[float], place: float) -> Tensor:
    """[tokens] of a place along an axis in 0–1."""
    at = float(np.interp(place, centres, range(len(centres))))
    return (1 - (torch.arange(len(centres)) - at).abs()).clamp(min=0)
