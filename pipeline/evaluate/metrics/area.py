"""The highest part of a map, by area."""

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.evaluate.metrics.ground_truth import Mask

_BINS = 1024


class Ranking:
    """Which pixels of a map [h, w] are its highest, for any number of them.

    Pixels fall into bins that rise with their values, equal values into the same; only the bin in which a number of
    pixels ends is looked into, so nothing is sorted. Equal values are taken in one fixed random order: a map that says
    nothing then scores as chance, neither as its first corner nor, with a threshold that lets all equal values in, as
    the whole image.

    Attributes:
        values: the map's, [N].
        bins: of each pixel [N]; they rise with the values.
        size: how many bins there are.
    """

    def __init__(self, heat: npt.NDArray[np.floating]) -> None:
        self.values = heat.ravel()
        self.bins, self.size = _bins(self.values)
        self._from_bin = rising(np.bincount(self.bins, minlength=self.size))

    def cut(self, count: int) -> tuple[int, npt.NDArray[np.int64]]:
        """A bin, and pixels: all pixels of that bin and above and these make up the `count` highest."""
        if count >= len(self.values):
            return 0, np.empty(0, dtype=np.int64)
        if count <= 0:
            return self.size, np.empty(0, dtype=np.int64)
        last = (
            int(np.searchsorted(-self._from_bin, -count, "right")) - 1
        )  # the highest bin from which on there are enough
        wanted = count - int(self._from_bin[last + 1])
        within = np.flatnonzero(self.bins == last)
        values = self.values[within]
        threshold = np.partition(values, len(values) - wanted)[len(values) - wanted]
        equal = within[values == threshold]
        above = within[values > threshold]
        order = _order(len(self.values))[equal]
        return last + 1, np.concatenate([above, equal[_first(order, wanted - len(above))]])

    def lowest_of(self, count: int) -> np.floating:
        """The lowest value of the `count` highest pixels, 1 to N."""
        above, pixels = self.cut(count)
        if len(pixels):
            lowest: np.floating = self.values[pixels].min()
            return lowest
        lowest = self.values[self.bins >= above].min()
        return lowest

    def mean_of(self, count: int) -> float:
        """The mean value of the `count` highest pixels, 1 to N."""
        above, pixels = self.cut(count)
        total = self.values[self.bins >= above].sum(dtype=np.float64) + self.values[pixels].sum(dtype=np.float64)
        return float(total / count)


def highest(heat: npt.NDArray[np.floating], count: int) -> Mask:
    """The `count` highest pixels of a map [h, w], exactly that many, see `Ranking`."""
    ranking = Ranking(heat)
    above, pixels = ranking.cut(count)
    chosen: Mask = ranking.bins >= above
    chosen[pixels] = True
    return chosen.reshape(heat.shape)


def highest_pixel(heat: npt.NDArray[np.floating]) -> tuple[int, int]:
    """Row and column of the maximum; of several, one by the same fixed random order."""
    flat = heat.ravel()
    equal = np.flatnonzero(flat == flat.max())
    row, column = divmod(int(equal[np.argmin(_order(flat.size)[equal])]), heat.shape[1])
    return row, column


def rising(of_bins: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """What lies in each bin and all above, [bins + 1]; the last is nought."""
    return np.append(np.cumsum(of_bins[::-1])[::-1], of_bins.dtype.type(0))


def _bins(values: npt.NDArray[np.floating]) -> tuple[npt.NDArray[np.int32], int]:
    """The bin of each value, and how many bins there are."""
    low, high = values.min(), values.max()
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        scale = values.dtype.type(_BINS - 1) / (high - low)
        can_scale = bool(scale) and np.isfinite(scale) and np.isfinite((high - low) * scale)
    if not can_scale:
        # all values equal, or a range that floats can't be scaled over: each value has a bin of its own
        ranks = np.unique(values, return_inverse=True)[1].astype(np.int32)
        return ranks, int(ranks.max()) + 1
    return ((values - low) * scale).astype(np.int32), _BINS


def _first(order: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """Places of the `count` smallest numbers."""
    if count >= len(order):
        return np.arange(len(order))
    return np.argpartition(order, count)[:count]


@lru_cache(maxsize=4)
def _order(pixels: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(20).permutation(pixels)
