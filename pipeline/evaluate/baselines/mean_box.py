"""The mean of the boxes: where the sound was elsewhere."""

from collections.abc import Iterable

import numpy as np

from pipeline.evaluate.metrics.ground_truth import Mask
from pipeline.evaluate.metrics.resize import Map


def mean_box(truths: Iterable[Mask]) -> Map:
    """The mean [S, S] of the masks of other samples (the validation split's).

    Raises:
        ValueError: no masks.
    """
    total: Map | None = None
    count = 0
    for truth in truths:
        total = truth.astype(np.float32) if total is None else total + truth
        count += 1
    if total is None:
        raise ValueError("expected at least one mask")
    mean: Map = total / np.float32(count)
    return mean
