"""The mean of the boxes: where the sound was elsewhere."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline.evaluate.metrics.resize import Map


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
