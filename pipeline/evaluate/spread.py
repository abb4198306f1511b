"""Means over seeds, with Student's interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

_STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""97.5 % quantiles of Student's t by degrees of freedom, from 1 on."""
_NORMAL = 1.959964


@dataclass(frozen=True)
class Interval:
    """A mean over seeds, and half of its 95 % confidence interval; infinite of one seed."""

    mean: float
    half: float


def interval(values: Sequence[float]) -> Interval:
    """The mean of values of several seeds, with Student's interval."""
    if len(values) < 2:
        return Interval(fmean(values), math.inf)
    if min(values) == max(values):
        return Interval(values[0], 0.0)  # sums round
    return Interval(fmean(values), _quantile(len(values) - 1) * stdev(values) / math.sqrt(len(values)))


def _quantile(freedom: int) -> float:
    """97.5 % of Student's t: to 0.2 %, beyond the table by the first terms of its expansion around the normal
    distribution (Abramowitz and Stegun, 26.7.5)."""
    if freedom <= len(_STUDENT):
        return _STUDENT[freedom - 1]
    z = _NORMAL
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
