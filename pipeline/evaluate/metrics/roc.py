"""How well a score tells two kinds of samples apart."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def area_under_roc(scores: Sequence[float] | npt.NDArray[np.floating], positive: Sequence[bool]) -> float | None:
    """Area under the ROC curve: how often a positive sample scores higher than a negative one; equal scores count half.

    Returns:
        None where one of the kinds has no sample.
    """
    values, is_positive = np.asarray(scores, np.float64), np.asarray(positive, np.bool_)
    positives, negatives = int(is_positive.sum()), int((~is_positive).sum())
    if not positives or not negatives:
        return None
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]  # mean rank of equal ones
    above = float(ranks[is_positive].sum()) - positives * (positives + 1) / 2
    return above / (positives * negatives)
