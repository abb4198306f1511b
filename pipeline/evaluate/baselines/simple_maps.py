"""Maps that no model made: the centre, where photographers put things; the mean of the boxes, where the sound was
elsewhere; and the ceiling, the truth itself through the same coarse grid as the maps of the row `model`."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline.evaluate.metrics.ground_truth import Mask
from pipeline.evaluate.metrics.resize import Map


def centre_disc(size: int) -> Map:
    """A map [size, size] that falls with the distance from the centre."""
    offset = np.arange(size, dtype=np.float32) + 0.5 - size / 2
    disc: Map = -np.hypot(offset[:, None], offset[None, :])
    return disc


def mean_box(covered: Sequence[npt.NDArray[np.int32]], truths: int) -> Map:
    """The mean [S, S] of the masks of other samples (the validation split's).

    Args:
        covered: [S, S] by how many of the masks each pixel is covered, in parts of them.
        truths: how many masks there are in all.

    Raises:
        ValueError: no masks.
    """
    if not truths:
        raise ValueError("expected at least one mask")
    mean: Map = np.sum(covered, axis=0, dtype=np.int64).astype(np.float32) / np.float32(truths)
    return mean


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
