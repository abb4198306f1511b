"""Average precision of a ranking."""

import numpy as np
import numpy.typing as npt


def average_precision(scores: npt.NDArray[np.floating], there: npt.NDArray[np.bool_]) -> float | None:
    """Σ (R_n − R_n−1) · P_n over the thresholds of scores [N], of which those are to be high that are `there`. What has
    the same score is taken together, so that their order doesn't matter; None where nothing is there."""
    if not there.any():
        return None
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(there[order])
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # of each run of equal scores
    recall, precision = hits[last] / hits[-1], hits[last] / (last + 1)
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))
