"""The highest part of a map, by area."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from pipeline.evaluate.metrics.ground_truth import Mask


def highest(heat: npt.NDArray[np.floating], count: int) -> Mask:
    """The `count` highest pixels of a map [S, S], exactly that many.

    Equal values are taken in one fixed random order: a map that says nothing then scores as chance, neither as its
    first corner nor, with a threshold that lets all equal values in, as the whole image.
    """
    flat = heat.ravel()
    chosen = np.zeros(flat.size, dtype=np.bool_)
    if count >= flat.size:
        chosen[:] = True
    elif count > 0:
        threshold = np.partition(flat, flat.size - count)[flat.size - count]
        chosen[flat > threshold] = True
        equal = np.flatnonzero(flat == threshold)
        chosen[equal[_first(_order(flat.size)[equal], count - int(np.count_nonzero(chosen)))]] = True
    return chosen.reshape(heat.shape)


def highest_pixel(heat: npt.NDArray[np.floating]) -> tuple[int, int]:
    """Row and column of the maximum; of several, one by the same fixed random order."""
    flat = heat.ravel()
    equal = np.flatnonzero(flat == flat.max())
    row, column = divmod(int(equal[np.argmin(_order(flat.size)[equal])]), heat.shape[1])
    return row, column


def _first(order: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """Places of the `count` smallest numbers."""
    if count >= len(order):
        return np.arange(len(order))
    return np.argpartition(order, count)[:count]


@lru_cache(maxsize=4)
def _order(pixels: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(20).permutation(pixels)
