"""Whether a model knows when nothing that is heard is seen: average precision and F1 over samples that sound and others
(SLAVC, Mo and Morgado 2022)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.evaluate.metrics.area import Ranking

Numbers = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class PrecisionRecall:
    """Precision and recall [T] at falling thresholds [T] of confidence.

    A sounding sample that is found (confidence of at least the threshold) in the right place is a true positive. One
    found elsewhere, or one that doesn't sound, is a false positive; a sounding one that isn't found a false negative.
    Precision is 1 where nothing is found, recall 1 where nothing that sounds is missed or found.
    """

    thresholds: Numbers
    precision: Numbers
    recall: Numbers

    @classmethod
    def of(
        cls, confidences: Numbers, localised: Flags, sounding: Flags, thresholds: Numbers | None = None
    ) -> "PrecisionRecall":
        """Of samples [N].

        Args:
            localised: whether what sounds was found in its place; of samples that don't sound it says nothing.
            thresholds: falling; by default every confidence there is.
        """
        at = np.unique(confidences)[::-1] if thresholds is None else thresholds
        right, found = _at_least(confidences[localised & sounding], at), _at_least(confidences, at)
        missed = np.count_nonzero(sounding) - _at_least(confidences[sounding], at)
        with np.errstate(invalid="ignore"):
            precision = np.where(found > 0, right / found, 1.0)
            recall = np.where(right + missed > 0, right / (right + missed), 1.0)
        return cls(at, precision, recall)

    @property
    def average_precision(self) -> float:
        """Area below precision, each as high as any at a higher recall, over recall from 0 on."""
        envelope = np.maximum.accumulate(self.precision[::-1])[::-1]
        return float(np.sum(np.diff(self.recall, prepend=0.0) * envelope))

    @property
    def f1(self) -> Numbers:
        """2PR / (P + R) at each threshold."""
        total = self.precision + self.recall
        return np.divide(2 * self.precision * self.recall, total, out=np.zeros_like(total), where=total > 0)


def slavc_average_precision(confidences: Numbers, localised: Flags, sounding: Flags) -> float:
    """As SLAVC's code has it: at about 200 thresholds, never the highest confidence, and without the area to the left
    of the first; each step of recall counts with the precision before it."""
    ordered = np.sort(confidences)[:-1]
    curve = PrecisionRecall.of(confidences, localised, sounding, ordered[:: -max(1, len(confidences) // 200)])
    envelope = np.maximum.accumulate(curve.precision[::-1])[::-1]
    return float(np.sum(np.diff(curve.recall) * envelope[:-1]))


def slavc_max_f1(confidences: Numbers, localised: Flags, sounding: Flags) -> float:
    """As SLAVC's code has it: at about ten thresholds."""
    some = np.sort(confidences)[:: max(1, len(confidences) // 10)][::-1]
    return float(PrecisionRecall.of(confidences, localised, sounding, some).f1.max())


def quarter(pixels: int) -> int:
    """How many of a map's highest values make up its confidence, which is their mean: a quarter, rounded up."""
    return -(-pixels // 4)


def top_quarter(ranking: Ranking) -> float:
    """Confidence of a map."""
    return ranking.mean_of(ranking.cuts([quarter(len(ranking.values))]), 0)


def _at_least(values: Numbers, thresholds: Numbers) -> Numbers:
    """How many of the values are at least each threshold."""
    counts: Numbers = (len(values) - np.searchsorted(np.sort(values), thresholds, "left")).astype(np.float64)
    return counts
