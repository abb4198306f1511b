"""How much of a map is still there in another of the same frame."""

import math

import numpy as np
import numpy.typing as npt

from pipeline.evaluate.metrics.area import highest
from pipeline.evaluate.metrics.ground_truth import Mask

_ROUNDING = 1e-5
"""Of a map's largest value: what two passes through the same model may differ by."""


def stays(own: npt.NDArray[np.floating], other: npt.NDArray[np.floating], truth: Mask) -> tuple[float, float]:
    """Of the highest pixels of a map [S, S], as many as the truth [S, S] has, the share that is at least as high in
    another map as the lowest of them was in the own; and the same share of those of them that lie on the truth.

    The maps are compared as they are: scaled to 0–1 each, a map that has sunk as a whole would look unchanged. Whatever
    rises with the values of both leaves the shares as they are. They are 1 of a map that doesn't change.

    Returns:
        NaN of pixels that there are none of, and both where the own map is not finite; nought where the other is not.
    """
    area = int(np.count_nonzero(truth))
    if not area or not np.isfinite(own).all():
        return math.nan, math.nan
    if not np.isfinite(other).all():
        return 0.0, 0.0
    taken = highest(own, area)
    still = other >= own[taken].min() - _ROUNDING * np.abs(own).max()
    on_truth = taken & truth
    return float(still[taken].mean()), float(still[on_truth].mean()) if on_truth.any() else math.nan


def scaled(heat: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """A map from 0 to 1, as public evaluators scale each by itself; noughts of one that says nothing."""
    low, high = heat.min(), heat.max()
    return (heat - low) / (high - low) if high > low else np.zeros_like(heat)
