"""Figures of many samples as functions of how often each sample counts: what a bootstrap draws anew."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.floating]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Statistic(ABC):
    """A figure of N samples. Its fields are arrays whose last axis is N."""

    kind: ClassVar[str]

    @property
    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All of its fields."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def known(self) -> Flags:
        """[N] False of samples that say nothing."""
        return np.ones(next(iter(self.arrays.values())).shape[-1], dtype=np.bool_)

    def of(self, places: Sequence[int] | npt.NDArray[np.intp] | Flags) -> "Statistic":
        """The same of only the samples at these places."""
        return type(self)(**{name: array[..., places] for name, array in self.arrays.items()})

    @abstractmethod
    def at(self, weights: Numbers) -> Numbers:
        """[D], the figure where samples count as often as each of D rows of weights [D, N] says; NaN where that says
        nothing."""

    @property
    def value(self) -> float | None:
        """The figure of all samples, each once; None where they say nothing."""
        found = float(self.at(np.ones((1, len(self.known))))[0])
        return None if np.isnan(found) else found


@dataclass(frozen=True, eq=False)
class Mean(Statistic):
    """The mean of values [N]; samples of which it is NaN say nothing."""

    values: Numbers
    kind = "mean"

    @property
    def known(self) -> Flags:
        return ~np.isnan(self.values)

    def at(self, weights: Numbers) -> Numbers:
        return _ratio(weights @ np.where(self.known, self.values, 0.0), weights @ self.known.astype(np.float64))


@dataclass(frozen=True, eq=False)
class Median(Statistic):
    """The median of values [N], between the middle two of an even number; samples of which it is NaN say nothing."""

    values: Numbers
    kind = "median"

    @property
    def known(self) -> Flags:
        return ~np.isnan(self.values)

    def at(self, weights: Numbers) -> Numbers:
        order = np.argsort(self.values, kind="stable")[: np.count_nonzero(self.known)]  # NaN last
        if not len(order):
            return np.full(len(weights), np.nan)
        values, up_to = self.values[order], np.cumsum(weights[:, order], axis=1)
        half = up_to[:, -1:] / 2
        middle = values[np.argmax(up_to >= half, axis=1)] + values[np.argmax(up_to > half, axis=1)]
        return np.where(half[:, 0] > 0, middle / 2, np.nan)


@dataclass(frozen=True, eq=False)
class MeanOfRatios(Statistic):
    """The mean over G of the mean over C of ratios of sums; those to nought or less are no part of it.

    With whether a class is there and was told in each of C, this is balanced accuracy; of one ratio a share of what
    only some samples have.

    Attributes:
        numerators, denominators: [G, C, N]
    """

    numerators: Numbers
    denominators: Numbers
    kind = "mean_of_ratios"

    def at(self, weights: Numbers) -> Numbers:
        ratios = _ratio(self.numerators @ weights.T, self.denominators @ weights.T)  # [G, C, D]
        there = ~np.isnan(ratios)
        means: Numbers = _ratio(np.where(there, ratios, 0.0).sum(1), there.sum(1)).mean(0)
        return means


@dataclass(frozen=True, eq=False)
class AreaUnderRoc(Statistic):
    """How often what is present scores higher than what is absent; equal scores count half.

    Attributes:
        present, absent: [N] scores; NaN of samples that are no such. A sample may give one of each.
    """

    present: Numbers
    absent: Numbers
    kind = "area_under_roc"

    def at(self, weights: Numbers) -> Numbers:
        present, absent = (np.flatnonzero(~np.isnan(scores)) for scores in (self.present, self.absent))
        absent = absent[np.argsort(self.absent[absent], kind="stable")]
        of_samples = np.ascontiguousarray(weights.T)  # [N, D]: samples are picked as rows
        up_to = np.zeros((len(absent) + 1, len(weights)))
        np.cumsum(of_samples[absent], axis=0, out=up_to[1:])
        ordered, scores, own = self.absent[absent], self.present[present], of_samples[present]
        below = up_to[np.searchsorted(ordered, scores, "left")] + up_to[np.searchsorted(ordered, scores, "right")]
        return _ratio((own * below).sum(0) / 2, own.sum(0) * up_to[-1])


@dataclass(frozen=True, eq=False)
class MeanAveragePrecision(Statistic):
    """The mean over classes of the average precision of a ranking, see `average_precision`; classes of which nothing is
    there are no part of it.

    Attributes:
        scores: [C, N]
        there: [C, N] which are to be high.
    """

    scores: Numbers
    there: Flags
    kind = "mean_average_precision"

    def at(self, weights: Numbers) -> Numbers:
        of_samples = np.ascontiguousarray(weights.T)
        of_classes = np.stack([_precision(*one, of_samples) for one in zip(self.scores, self.there, strict=True)])
        known = ~np.isnan(of_classes)
        return _ratio(np.where(known, of_classes, 0.0).sum(0), known.sum(0))


STATISTICS: dict[str, type[Statistic]] = {
    one.kind: one for one in (Mean, Median, MeanOfRatios, AreaUnderRoc, MeanAveragePrecision)
}


def _precision(scores: Numbers, there: Flags, weights: Numbers) -> Numbers:
    """[D] of one class, by weights [N, D]: precision is only looked at where something that is there has a score."""
    order = np.argsort(-scores, kind="stable")
    ranked, found = scores[order], np.flatnonzero(there[order])
    if not len(found):
        return np.full(weights.shape[1], np.nan)
    # what has the same score is taken together
    behind = np.searchsorted(-ranked, -ranked[found], "right")
    ends, first = np.unique(behind, return_index=True)
    starts = np.concatenate([[0], ends[:-1]])
    taken = np.cumsum(np.add.reduceat(weights[order[: ends[-1]]], starts, axis=0), axis=0)  # [ends, D]
    more = np.add.reduceat(weights[order[found]], first, axis=0)
    hits = np.cumsum(more, axis=0)
    return _ratio((more * np.nan_to_num(_ratio(hits, taken))).sum(0), hits[-1])


def _ratio(numerators: Numbers, denominators: npt.NDArray[Any]) -> Numbers:
    """NaN where the denominator is not above nought."""
    found: Numbers = np.full(numerators.shape, np.nan)
    np.divide(numerators, denominators, out=found, where=denominators > 0)
    return found
