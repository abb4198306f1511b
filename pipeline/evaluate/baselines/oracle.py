"""The ceiling: the truth itself, through the same coarse grid as the maps of the row `model`."""

import numpy as np

from pipeline.evaluate.metrics.ground_truth import Mask
from pipeline.evaluate.metrics.resize import Map


def oracle_map(truth: Mask, grid: tuple[int, int]) -> Map:
    """The share of each cell of a grid [h, w] that the truth [S, S] covers."""
    rows = _overlap(truth.shape[0], grid[0])
    columns = _overlap(truth.shape[1], grid[1])
    covered: Map = (rows @ truth.astype(np.float32) @ columns.T).astype(np.float32)
    return covered


def _overlap(pixels: int, cells: int) -> Map:
    """[cells, pixels]: the share of each cell that each pixel fills, also where they don't divide."""
    edges = np.arange(cells + 1) * pixels / cells
    starts = np.arange(pixels)
    shared = np.minimum(edges[1:, None], starts + 1) - np.maximum(edges[:-1, None], starts)
    shares: Map = (np.clip(shared, 0, None) * cells / pixels).astype(np.float32)
    return shares
