"""cIoU, AUC and cIoU_adap as the public evaluators of VGG-SS define them.

Those threshold a map at `sort(flat)[N // 2]` and count what is above, which is the upper half of the area as long as no
two values are equal. Maps with many equal values (zeros above all) would get a smaller area by it, or all of it, and
another score for no better map; here the predicted area is always exactly the upper half, see `area.highest`. For
cIoU_adap the code of IS3 counts what is above `sort(flat)[N − area]`, one pixel less than the truth has; here it is as
many. A truth without any area (a box of VGG-SS without one) is a failure here as there.
"""

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline.evaluate.metrics.area import highest
from pipeline.evaluate.metrics.ground_truth import Mask

SUCCESS = 0.5
"""A sample counts as localised from this cIoU on."""


def consensus_iou(predicted: Mask, truth: npt.NDArray[np.generic]) -> float:
    """`Σ(P·G) / (ΣG + Σ P·[G == 0])` of one sample; `truth` is a mask, or weights in 0–1 where annotators disagree.
    Zero where the truth is empty."""
    if not truth.any():
        return 0.0
    if truth.dtype == np.bool_:
        inside = int(np.count_nonzero(np.logical_and(predicted, truth)))
        union = int(np.count_nonzero(truth)) + int(np.count_nonzero(predicted)) - inside
        return inside / union
    weights = truth.astype(np.float64)
    return float((predicted * weights).sum() / (weights.sum() + (predicted & (weights == 0)).sum()))


def half_area_ciou(heat: npt.NDArray[np.floating], truth: npt.NDArray[np.generic]) -> float:
    """cIoU of one sample when the upper half of the map's area (N − N//2 − 1 of N pixels) counts as predicted."""
    return consensus_iou(highest(heat, heat.size - heat.size // 2 - 1), truth)


def adaptive_ciou(heat: npt.NDArray[np.floating], truth: npt.NDArray[np.generic]) -> float:
    """cIoU of one sample when as many pixels count as predicted as the truth has."""
    return consensus_iou(highest(heat, int(np.count_nonzero(truth))), truth)


def success_rate(cious: Sequence[float], threshold: float = SUCCESS) -> float:
    """Share of samples with a cIoU of at least `threshold`; what tables call cIoU."""
    return float(np.mean(np.asarray(cious) >= threshold))


def area_under_curve(cious: Sequence[float]) -> float:
    """Area under the success rate over the thresholds 0, 0.05 … 1, by trapezoids."""
    thresholds = [0.05 * step for step in range(21)]
    rates = [success_rate(cious, threshold) for threshold in thresholds]
    return float(sum((a + b) / 2 * 0.05 for a, b in itertools.pairwise(rates)))
