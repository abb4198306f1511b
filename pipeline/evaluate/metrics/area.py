"""The highest part of a map, by area."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.evaluate.metrics.ground_truth import Mask

_BINS = 4096
Places = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Cuts:
    """Several ways to cut a map in two: of each, what is taken are all pixels of the bins from `above` on and those
    from `first` to `end` of `pixels`.

    Attributes:
        above, first, end: [C].
        pixels: of the bins in which cuts end, the highest first; of equal ones in the fixed random order.
        values: of these pixels, falling.
        counts: [C] how many pixels are taken.
    """

    above: Places
    first: Places
    end: Places
    pixels: Places
    values: npt.NDArray[np.floating]
    counts: Places

    def and_at_equals(self, which: slice) -> "Cuts":
        """Behind these cuts some of them again, of which each takes a pixel: first without what is as low as the lowest
        that it takes, then with all that is."""
        lowest = -self.values[self.end[which] - 1]
        ends = [np.searchsorted(-self.values, lowest, side) for side in ("left", "right")]
        end = np.concatenate([self.end, *ends])
        above, first = (np.concatenate([one, one[which], one[which]]) for one in (self.above, self.first))
        counts = np.concatenate([self.counts, *(self.counts[which] + one - self.end[which] for one in ends)])
        return Cuts(above, first, end, self.pixels, self.values, counts)

    def among_pixels(self, what: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """[C] the sum of something, given for `pixels`, over those that are taken besides whole bins."""
        summed = np.concatenate([np.zeros(1, what.dtype), np.cumsum(what)])
        between: npt.NDArray[Any] = summed[self.end] - summed[self.first]
        return between


class Ranking:
    """Which pixels of a map [h, w] are its highest, for any number of them.

    Pixels fall into bins that rise with their values, equal values into the same; only the bins in which cuts end are
    looked into, all at once, so next to nothing is sorted. Equal values are taken in one fixed random order: a map that
    says nothing then scores as chance, neither as its first corner nor, with a threshold that lets all equal values in,
    as the whole image.

    Attributes:
        values: the map's, [N].
        low, high: the least and the greatest of them.
        bins: of each pixel [N]; they rise with the values.
        size: how many bins there are.
        from_bin: [size + 1] how many pixels lie in each bin and all above.
    """

    def __init__(self, heat: npt.NDArray[np.floating]) -> None:
        self.values = heat.ravel()
        self.low, self.high = self.values.min(), self.values.max()
        kind = self.values.dtype.type
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            self._scale = kind(_BINS - 1) / (self.high - self.low)
            can_scale = bool(self._scale) and np.isfinite(self._scale) and np.isfinite(self._scaled(self.high))
        # all values equal, or a range that floats can't be scaled over: each value has a bin of its own
        self._each: npt.NDArray[np.floating] | None = None if can_scale else np.unique(self.values)
        self.size = _BINS if self._each is None else len(self._each)
        self.bins = self._bins_of(self.values)

    def _scaled(self, values: Any) -> Any:
        return (values - self.low) * self._scale

    def _bins_of(self, values: npt.NDArray[np.floating]) -> Places:
        if self._each is None:
            # the way by 32 bits takes half as long
            bins: Places = self._scaled(values).astype(np.int32).astype(np.intp)
            return bins
        return np.maximum(np.searchsorted(self._each, values, "right") - 1, 0)

    @cached_property
    def from_bin(self) -> Places:
        return rising(np.bincount(self.bins, minlength=self.size))

    def cuts(self, counts: Sequence[int], levels: Sequence[float] = ()) -> Cuts:
        """A cut for each number of highest pixels, and behind them one for each level, which takes what is at least as
        high as it.

        Args:
            counts: 0–N are meant; others are taken for the nearest.
            levels: from the least value of the map to the greatest.
        """
        wanted = np.clip(np.asarray(counts, dtype=np.intp), 0, len(self.values))
        at_least = np.asarray(levels, dtype=self.values.dtype)
        # the highest bin from which on there are enough; nought are there from behind the last on
        last = np.searchsorted(-self.from_bin, -wanted, "right") - 1
        ends = np.concatenate([last, self._bins_of(at_least)])
        above = np.minimum(ends + 1, self.size)
        looked_into = np.zeros(self.size + 1, dtype=np.bool_)
        looked_into[ends] = True
        pixels = np.flatnonzero(looked_into[self.bins])
        pixels = pixels[np.lexsort((_order(len(self.values))[pixels], -self.values[pixels]))]
        values = self.values[pixels]
        first = np.searchsorted(-self.bins[pixels], -ends)
        besides = wanted - self.from_bin[above[: len(wanted)]]
        end = np.concatenate([first[: len(wanted)] + besides, np.searchsorted(-values, -at_least, "right")])
        return Cuts(above, first, end, pixels, values, self.from_bin[above] + end - first)

    def mean_of(self, count: int) -> float:
        """The mean value of the `count` highest pixels, 1 to N."""
        cut = self.cuts([count])
        total = np.where(self.bins >= cut.above[0], self.values, 0).sum(dtype=np.float64)
        return float((total + cut.among_pixels(cut.values.astype(np.float64))[0]) / count)


def highest(heat: npt.NDArray[np.floating], count: int) -> Mask:
    """The `count` highest pixels of a map [h, w], exactly that many, see `Ranking`."""
    ranking = Ranking(heat)
    cut = ranking.cuts([count])
    chosen: Mask = ranking.bins >= cut.above[0]
    chosen[cut.pixels[cut.first[0] : cut.end[0]]] = True
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


@lru_cache(maxsize=4)
def _order(pixels: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(20).permutation(pixels)
