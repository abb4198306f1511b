"""The rule of `cluster.node_cache` on numbers of extents: what is kept, what is only passing, what is fetched again."""

import numpy as np
import numpy.typing as npt

from pipeline.stream.order import Numbers

_ABSENT, _KEPT, _PASSING = 0, 1, 2


class CacheModel:
    """A node's cache of extents of equal size.

    While there is room, extents are kept for good; afterwards new ones pass through a ring, oldest out first.

    Args:
        extents: different extents that there are.
        kept: how many are kept at most.
        passing: how many the ring holds.
    """

    def __init__(self, extents: int, kept: int, passing: int) -> None:
        self._state: npt.NDArray[np.int8] = np.zeros(extents, dtype=np.int8)
        self._room = kept
        self._ring: Numbers = np.full(max(1, passing), -1, dtype=np.int64)
        self._head = 0

    def read(self, extents: Numbers) -> Numbers:
        """Read extents in this order; those that had to be fetched, in order."""
        if (self._state[extents] != _ABSENT).all():
            return np.zeros(0, dtype=np.int64)
        # few at once: what passes out of the ring between two of these reads is not seen
        few = max(1, len(self._ring) // 16)
        return np.concatenate([self._read(extents[start : start + few]) for start in range(0, len(extents), few)])

    def _read(self, extents: Numbers) -> Numbers:
        absent: Numbers = extents[self._state[extents] == _ABSENT]
        if not len(absent):
            return absent
        _, first = np.unique(absent, return_index=True)
        fetched: Numbers = absent[np.sort(first)]
        kept, passing = fetched[: self._room], fetched[self._room :]
        self._room -= len(kept)
        self._state[kept] = _KEPT
        for start in range(0, len(passing), len(self._ring)):
            self._pass(passing[start : start + len(self._ring)])
        return fetched

    def _pass(self, extents: Numbers) -> None:
        slots = (self._head + np.arange(len(extents))) % len(self._ring)
        oldest = self._ring[slots]
        self._state[oldest[oldest >= 0]] = _ABSENT
        self._ring[slots] = extents
        self._state[extents] = _PASSING
        self._head = int(slots[-1] + 1) % len(self._ring)
