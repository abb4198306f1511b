"""How well a score tells two kinds of samples apart."""

import numpy as np
import numpy.typing as npt


def area_under_roc(present: npt.NDArray[np.floating], absent: npt.NDArray[np.floating]) -> float | None:
    """Area under the ROC curve (AUROC): how often a present one scores higher than an absent one; equal scores count
    half.

    Returns:
        None where one of the kinds has no sample.
    """
    if not len(present) or not len(absent):
        return None
    ordered = np.sort(absent)
    below, up_to = np.searchsorted(ordered, present, "left"), np.searchsorted(ordered, present, "right")
    return float((below + up_to).mean() / 2 / len(absent))
