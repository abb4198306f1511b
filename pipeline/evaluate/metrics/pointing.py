"""Pointing accuracy: does the highest pixel of the map lie on what sounds?"""

import numpy as np
import numpy.typing as npt

from pipeline.evaluate.metrics.area import highest_pixel
from pipeline.evaluate.metrics.ground_truth import Mask


def points_at(heat: npt.NDArray[np.floating], truth: Mask) -> bool:
    """Whether the maximum of the map [S, S] lies inside the truth [S, S] (the pointing game of Zhang et al. 2016,
    without its tolerance). A map that is not finite points nowhere."""
    return bool(np.isfinite(heat).all() and truth[highest_pixel(heat)])
