"""Telling which process is slow.

In a step all wait for the slowest, so their times are the same. What differs is the time that each spends on its own:
reading data and forward passes.
"""

import statistics
from typing import Any

_RECORDS = 5


class Stragglers:
    """The processes' own times between two records.

    Args:
        factor: a process is slow that takes more than this many times the median.
    """

    def __init__(self, factor: float) -> None:
        self._factor = factor
        self._own_s: list[float] = []
        self._slow_rank, self._slow_records = -1, 0

    def add(self, own_s: tuple[float, ...]) -> None:
        """Count a step: the own seconds of each process."""
        before = self._own_s or [0.0] * len(own_s)
        self._own_s = [total + seconds for total, seconds in zip(before, own_s, strict=True)]

    def record(self) -> dict[str, Any]:
        """`slowest_rank` and `slowest_excess` (its own time over the median, less one) since the last call; nothing for
        a single process."""
        own_s, self._own_s = self._own_s, []
        if len(own_s) < 2:
            return {}
        # of two, the faster one is what the other is measured by
        slowest, median = max(own_s), statistics.median_low(own_s)
        rank, excess = own_s.index(slowest), slowest / median - 1
        same = rank == self._slow_rank
        self._slow_records = 0 if excess <= self._factor - 1 else self._slow_records + 1 if same else 1
        self._slow_rank = rank
        return {"slowest_rank": rank, "slowest_excess": round(excess, 4)}

    @property
    def slow_for_long(self) -> bool:
        """Whether one process was slow in all of the last records; true once, until it or another is slow again."""
        return self._slow_records == _RECORDS
