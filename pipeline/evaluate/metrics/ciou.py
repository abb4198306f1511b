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

from pipeline.evaluate.metrics.area import Cuts, Ranking, summed
from pipeline.evaluate.metrics.ground_truth import Mask

SUCCESS = 0.5
"""A sample counts as localised from this cIoU on."""
_STEP = 0.05
_THRESHOLDS = [_STEP * step for step in range(21)]


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


class Overlap:
    """How the highest pixels of a map lie on a truth, [h, w] both; for any number of pixels the map is ranked once.

    Attributes:
        inside: which pixels [N] lie on the truth.
        area: how many do.
    """

    def __init__(self, heat: npt.NDArray[np.floating], truth: npt.NDArray[np.generic]) -> None:
        self.ranking = Ranking(heat)
        self._weights = None if truth.dtype == np.bool_ else truth.ravel().astype(np.float64)
        self.inside: Mask = truth.ravel().astype(np.bool_, copy=False) if self._weights is None else self._weights > 0
        bins = self.ranking.bins[self.inside]
        self._below = summed(np.bincount(bins, minlength=self.ranking.size))
        self.area = int(self._below[-1])
        self._weight_below = self._below
        if self._weights is not None:
            self._weight_below = summed(np.bincount(bins, self._weights[self.inside], self.ranking.size))

    @property
    def half(self) -> int:
        """The upper half of the map's area, N − N//2 − 1 of N pixels."""
        pixels = len(self.ranking.values)
        return pixels - pixels // 2 - 1

    def hits(self, cuts: Cuts) -> npt.NDArray[np.intp]:
        """[C] how many of the pixels that a cut takes lie on the truth."""
        inside: npt.NDArray[np.intp] = cuts.among_pixels(self.inside[cuts.pixels].astype(np.intp))
        return self.area - self._below[cuts.above] + inside

    def cious(self, cuts: Cuts, hits: npt.NDArray[np.intp] | None = None) -> npt.NDArray[np.float64]:
        """[C] cIoU when what a cut takes counts as predicted; see `consensus_iou`.

        Args:
            hits: of the cuts, where they are known.
        """
        hits = self.hits(cuts) if hits is None else hits
        weight = hits.astype(np.float64)
        if self._weights is not None:
            weight = (
                self._weight_below[-1] - self._weight_below[cuts.above] + cuts.among_pixels(self._weights[cuts.pixels])
            )
        union = self._weight_below[-1] + cuts.counts - hits
        cious: npt.NDArray[np.float64] = np.divide(weight, union, out=np.zeros(len(hits)), where=union > 0)
        return cious


def half_area_ciou(heat: npt.NDArray[np.floating], truth: npt.NDArray[np.generic]) -> float:
    """cIoU of one sample when the upper half of the map's area (N − N//2 − 1 of N pixels) counts as predicted."""
    overlap = Overlap(heat, truth)
    return float(overlap.cious(overlap.ranking.cuts([overlap.half]))[0])


def adaptive_ciou(heat: npt.NDArray[np.floating], truth: npt.NDArray[np.generic]) -> float:
    """cIoU of one sample when as many pixels count as predicted as the truth has."""
    overlap = Overlap(heat, truth)
    return float(overlap.cious(overlap.ranking.cuts([overlap.area]))[0])


def success_rate(cious: Sequence[float], threshold: float = SUCCESS) -> float:
    """Share of samples with a cIoU of at least `threshold`; what tables call cIoU."""
    return float(np.mean(np.asarray(cious) >= threshold))


def area_under_curve(cious: Sequence[float]) -> float:
    """Area under the success rate over the thresholds 0, 0.05 … 1, by trapezoids."""
    rates = [success_rate(cious, threshold) for threshold in _THRESHOLDS]
    return float(sum((a + b) / 2 * _STEP for a, b in itertools.pairwise(rates)))


def areas_of_each(cious: Sequence[float]) -> npt.NDArray[np.float64]:
    """What each sample gives to that area [N]: it is their mean."""
    shares = np.full(len(_THRESHOLDS), _STEP)
    shares[[0, -1]] /= 2
    areas: npt.NDArray[np.float64] = (np.asarray(cious)[:, None] >= np.array(_THRESHOLDS)) @ shares
    return areas
