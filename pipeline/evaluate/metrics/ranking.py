"""How high the right one of some stands, where all are ranked by how like they are to a query.

What is equally like stands in a random order, and a pool of N is a random draw of the others: figures are exact
expectations over both, so that who finds all alike scores what guessing does, and nothing hangs on a seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Counts = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Standings:
    """Where the right one of each query stands.

    Attributes:
        above: [N] wrong ones that are more like the query.
        level: [N] wrong ones that are just as like it.
        wrong: [N] all of them.
    """

    above: Counts
    level: Counts
    wrong: Counts

    def recall(self, k: int, pool: int | None = None) -> Values:
        """[N] how likely the right one is among the first k of a pool of so many (hypergeometric), itself counted; of
        all, where none is given or there are no more."""
        found = np.zeros(len(self.wrong))
        for wrong in np.unique(self.wrong).tolist():
            of = self.wrong == wrong
            within = np.concatenate([[0.0], _at_most(k - 1, wrong, self._drawn(wrong, pool)).cumsum()])
            first, behind = self.above[of], self.above[of] + self.level[of] + 1
            found[of] = (within[behind] - within[first]) / (behind - first)
        return found

    def ranks(self, pool: int | None = None) -> Values:
        """[N] which one it is in the mean, from 1, in a pool of so many or among all."""
        drawn = np.array([self._drawn(wrong, pool) for wrong in self.wrong.tolist()])
        found: Values = 1 + (self.above + self.level / 2) * drawn / np.maximum(self.wrong, 1)
        return found

    @classmethod
    def together(cls, several: "Sequence[Standings]") -> "Standings":
        """One behind the other."""
        return cls(*(np.concatenate([getattr(one, name) for one in several]) for name in ("above", "level", "wrong")))

    @staticmethod
    def _drawn(wrong: int, pool: int | None) -> int:
        return wrong if pool is None else min(pool - 1, wrong)


def standings(alike: Tensor, own: Tensor, others: Tensor) -> Standings:
    """Where the right ones stand.

    Args:
        alike: [N, M] how like each of M is to each of N queries. One that is no number is less like than all others.
        own: [N] which of the M is right.
        others: bool [N, M] those that are wrong; the rest is left out.
    """
    alike = alike.masked_fill(~alike.isfinite(), -torch.inf)
    mine = alike.gather(1, own[:, None])
    others = others.scatter(1, own[:, None], False)
    known = mine > -torch.inf
    above = ((alike > mine) | ~known) & others
    level = (alike == mine) & known & others
    return Standings(*(one.sum(1).cpu().numpy() for one in (above, level, others)))


def average_precisions(alike: Tensor, there: Tensor, counted: Tensor) -> Values:
    """[N] average precision of the ranking of M for each query, see `average_precision`; NaN where none is there.

    Args:
        alike: [N, M]; what is no number stands last.
        there: bool [N, M] what should stand first.
        counted: bool [N, M]; the rest is left out.
    """
    alike = alike.double().masked_fill(~(alike.isfinite() & counted), -torch.inf)
    ranked, order = alike.sort(dim=1, descending=True, stable=True)
    hits = (there & counted).gather(1, order)
    places = torch.arange(1, alike.shape[1] + 1, device=alike.device).expand_as(order)
    last = torch.ones_like(hits)  # of a run that is equally like
    last[:, :-1] = ranked[:, 1:] != ranked[:, :-1]
    end = torch.where(last, places, alike.shape[1]).flip(1).cummin(1).values.flip(1)
    precision = hits.cumsum(1).gather(1, end - 1).double() / end
    return ((precision * hits).sum(1) / hits.sum(1)).cpu().numpy()


def _at_most(most: int, population: int, drawn: int) -> Values:
    """[population + 1] of g marked ones how likely it is to draw at most so many of them, for g from 0 on."""
    marked = np.arange(population + 1)
    if drawn == population:
        return (marked <= most).astype(np.float64)
    likely = np.zeros(population + 1)
    for hit in range(min(most, drawn) + 1):
        with np.errstate(invalid="ignore"):
            ways = _log_choose(population, marked, hit) + _log_choose(population, population - marked, drawn - hit)
            likely += np.exp(ways - _log_choose(population, np.array(population), drawn))
    return np.minimum(likely, 1.0)


def _log_choose(most: int, n: Counts, k: int) -> Values:
    """log C(n, k) of n up to `most`; −∞ where k is more than n."""
    logs = np.concatenate([[0.0], np.log(np.arange(1, most + 1)).cumsum()])
    chosen = logs[n] - logs[k] - logs[np.maximum(n - k, 0)]
    return np.where(n >= k, chosen, -np.inf)
