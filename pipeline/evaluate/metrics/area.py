"""The highest part of a map, by area."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.evaluate.metrics.ground_truth import Mask

_BINS = 8192
_MANY = 8  # sorting an eighth of the pixels takes as long as going through all of them in an order that is known
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
        below = summed(what)
        between: npt.NDArray[Any] = below[self.end] - below[self.first]
        return between


class Ranking:
    """Which pixels of a map [h, w] are its highest, for any number of them.

    Pixels fall into bins that rise with their values, equal values into the same; only the bins in which cuts end are
    looked into, all at once, so next to nothing is sorted. Equal values are taken in one fixed random order: a map that
    says nothing then scores as chance, neither as its first corner nor, with a threshold that lets all equal values in,
    as the whole image.

    Attributes:
        values: the map's, [N].
        low, high: the least and the greatest of them; NaN where one of them is.
        bins: of each pixel [N]; they rise with the values.
        size: how many bins there are.
        below: [size + 1] how many pixels lie in all bins below each.
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
        scaled = values - self.low
        scaled *= self._scale
        return scaled

    def _bins_of(self, values: npt.NDArray[np.floating]) -> Places:
        if self._each is None:
            # the way by 32 bits takes half as long
            bins: Places = self._scaled(values).astype(np.int32).astype(np.intp)
            return bins
        return np.maximum(np.searchsorted(self._each, values, "right") - 1, 0)

    @cached_property
    def below(self) -> Places:
        return summed(np.bincount(self.bins, minlength=self.size))

    def cuts(self, counts: Sequence[int], levels: npt.ArrayLike = ()) -> Cuts:
        """A cut for each number of highest pixels, and behind them one for each level, which takes what is at least as
        high as it.

        Args:
            counts: 0–N are meant; others are taken for the nearest.
            levels: from the least value of the map to the greatest.
        """
        beneath = len(self.values) - np.minimum(np.maximum(counts, 0), len(self.values))
        at_least = np.asarray(levels, dtype=self.values.dtype)
        # the highest bin from which on there are enough; nought are there from behind the last on
        ends = np.concatenate([np.searchsorted(self.below, beneath, "right") - 1, self._bins_of(at_least)])
        above = np.minimum(ends + 1, self.size)
        looked_into = np.zeros(self.size + 1, dtype=np.bool_)
        looked_into[ends] = True
        pixels = _in_order(looked_into.take(self.bins))  # a third of the time of indexing
        pixels = pixels[np.argsort(-self.values[pixels], kind="stable")]
        values = self.values[pixels]
        first = np.searchsorted(-self.bins[pixels], -ends)
        end = first.copy()
        end[: len(beneath)] += self.below[above[: len(beneath)]] - beneath
        end[len(beneath) :] = np.searchsorted(-values, -at_least, "right")
        return Cuts(above, first, end, pixels, values, len(self.values) - self.below[above] + end - first)

    def mean_of(self, cuts: Cuts, which: int) -> float:
        """The mean value of the pixels that one of the cuts takes; of none it has no value."""
        of_bins = self.values.compress(self.bins >= cuts.above[which]).sum(dtype=np.float64)
        besides = cuts.values[cuts.first[which] : cuts.end[which]].sum(dtype=np.float64)
        return float((of_bins + besides) / cuts.counts[which])


def highest(heat: npt.NDArray[np.floating], count: int) -> Mask:
    """The `count` highest pixels of a map [h, w], exactly that many, see `Ranking`."""
    ranking = Ranking(heat)
    cut = ranking.cuts([count])
    chosen: Mask = ranking.bins >= cut.above[0]
    chosen[cut.pixels[cut.first[0] : cut.end[0]]] = True
    return chosen.reshape(heat.shape)


def falling(values: npt.NDArray[np.floating]) -> Places:
    """An order of values [N] from the highest to the lowest. They are brought into 65 536 bins by counting, and what is
    left to sort is nearly so: half the time of sorting them as they are."""
    low, high = values.min(), values.max()
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        bins = (values - low) * (values.dtype.type(65535) / (high - low))
    if not np.isfinite(bins).all():  # all equal, or a range that floats can't be scaled over
        return np.argsort(values)[::-1]
    nearly = np.argsort(bins.astype(np.uint16), kind="stable")
    return nearly.take(np.argsort(values.take(nearly), kind="stable")[::-1])


def highest_pixel(heat: npt.NDArray[np.floating]) -> tuple[int, int]:
    """Row and column of the maximum; of several, one by the same fixed random order."""
    flat = heat.ravel()
    equal = np.flatnonzero(flat == flat.max())
    row, column = divmod(int(equal[np.argmin(_order(flat.size)[equal])]), heat.shape[1])
    return row, column


def summed(of_bins: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """What lies in all bins below each, [bins + 1]; the last is all there is."""
    found = np.zeros(len(of_bins) + 1, of_bins.dtype)
    np.cumsum(of_bins, out=found[1:])
    return found


def _in_order(chosen: Mask) -> Places:
    """The chosen pixels [N] in the fixed random order."""
    pixels, order = np.flatnonzero(chosen), _order(len(chosen))
    if len(pixels) < len(chosen) // _MANY:
        return pixels[np.argsort(order[pixels])]
    everything = _ordered(len(chosen))  # sorted already: a map of few values lies in few bins
    return everything[chosen[everything]]


@lru_cache(maxsize=4)
def _ordered(pixels: int) -> Places:
    return np.argsort(_order(pixels))


@lru_cache(maxsize=4)
def _order(pixels: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(20).permutation(pixels)
