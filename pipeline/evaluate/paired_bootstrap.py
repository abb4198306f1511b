"""Whether one model is better than another on the same samples: the difference, its 95 % interval and p by a paired
bootstrap over samples (Efron and Tibshirani 1993, chapters 13 and 16).

What shares an image or a video is drawn together, for it is not independent. Figures that are no means over samples,
such as mAP, are found anew of each draw. Of several seeds of a side the figures are averaged: the interval is of
samples, and the spread over seeds stands beside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import numpy.typing as npt

from pipeline.errors import RunError
from pipeline.evaluate.measures.contract import SampleScores
from pipeline.evaluate.metrics.statistics import Flags, Statistic
from pipeline.evaluate.spread import interval

Numbers = npt.NDArray[np.float64]
_AT_ONCE = 4_000_000
"""Numbers drawn together."""


@dataclass(frozen=True)
class Difference:
    """One side less the other, in a column of a table.

    Attributes:
        one, other: means over the samples that all runs of both have.
        low, high: 95 % interval of the difference, over samples.
        p: how likely a difference as far from 0 is without any; two-sided, of at least 2 ÷ (draws + 1).
        over_seeds: half of Student's 95 % interval of the difference over seeds, pair by pair; None without pairs.
        samples, clusters: on which both were judged, and the images or videos that they are of.
        left_out: samples of either side that not all runs have.
    """

    measure: str
    column: str
    one: float
    other: float
    low: float
    high: float
    p: float
    over_seeds: float | None
    samples: int
    clusters: int
    left_out: int

    @property
    def difference(self) -> float:
        """How much larger one is than other."""
        return self.one - self.other


def compare_scores(
    one: Sequence[Mapping[str, SampleScores]],
    other: Sequence[Mapping[str, SampleScores]],
    row: str,
    draws: int = 10_000,
    seed: int = 0,
) -> list[Difference]:
    """Compare a row of two sides, each of one run or of several seeds, in all tables and columns that all runs have.

    Args:
        one, other: of each run the scores of its tables, see `pipeline.evaluate.sample_scores.read_scores`.
        draws: of the bootstrap; the same `seed` gives the same figures.

    Raises:
        RunError: they have no table with that row in common, or no sample.
    """
    runs = [*one, *other]
    tables = [name for name in runs[0] if all(name in run and row in run[name].values for run in runs)]
    if not tables:
        told = sorted({f"{table} ({', '.join(found.values)})" for run in runs for table, found in run.items()})
        raise RunError(
            f"expected a table in which all runs have the row {row}, found none in common among "
            f"{'; '.join(told) or 'no tables'}"
        )
    differences = []
    for table in tables:
        differences += _of_table([run[table] for run in one], [run[table] for run in other], row, draws, seed)
    if not differences:
        raise RunError(
            f"expected evaluations of the same samples, found none in common in the row {row} of {', '.join(tables)}: "
            "they are of other shard sets, or of other draws"
        )
    return differences


def _of_table(
    one: Sequence[SampleScores], other: Sequence[SampleScores], row: str, draws: int, seed: int
) -> list[Difference]:
    runs = [*one, *other]
    places = [{name: place for place, name in enumerate(run.ids)} for run in runs]
    shared = sorted(set(places[0]).intersection(*places[1:]))
    left_out = len(set().union(*places)) - len(shared)
    _, cluster = np.unique([runs[0].clusters[places[0][name]] for name in shared], return_inverse=True)
    found = []
    for column in runs[0].columns:
        if not shared or any(column not in run.columns for run in runs):
            continue
        figures = [
            run.statistic(row, column).of([place[name] for name in shared])
            for run, place in zip(runs, places, strict=True)
        ]
        if (
            len({figure.kind for figure in figures}) > 1
        ):  # accuracy of one label on one side, mAP of several on the other
            continue
        of_runs = np.stack([figure.known for figure in figures])
        known: Flags = np.all(of_runs, axis=0)
        if known.any():
            sides = [[figure.of(known) for figure in side] for side in (figures[: len(one)], figures[len(one) :])]
            of_clusters = np.unique(cluster[known], return_inverse=True)[1]
            of_column = _difference(sides[0], sides[1], of_clusters, draws, seed)
            if of_column is not None:
                of_some = int((of_runs.any(0) & ~known).sum())
                found.append(Difference(runs[0].measure, column, *of_column, left_out + of_some))
    return found


def _difference(
    one: Sequence[Statistic], other: Sequence[Statistic], cluster: npt.NDArray[np.intp], draws: int, seed: int
) -> tuple[float, float, float, float, float, float | None, int, int] | None:
    """What a `Difference` has from `one` to `clusters`, of the figure in several seeds each; None where they are not
    all known."""
    ours, theirs = ([figure.value for figure in side] for side in (one, other))
    known_ours, known_theirs = ([value for value in side if value is not None] for side in (ours, theirs))
    if len(known_ours) + len(known_theirs) < len(ours) + len(theirs):
        return None
    drawn = bootstrap([*one, *other], cluster, draws, seed)
    apart = drawn[: len(one)].mean(0) - drawn[len(one) :].mean(0)
    apart = apart[~np.isnan(apart)]  # a draw may lack all samples of a class
    low, high = np.quantile(apart, [0.025, 0.975]).tolist()
    beyond = min(int((apart <= 0).sum()), int((apart >= 0).sum()))
    p = min(1.0, 2 * (beyond + 1) / (len(apart) + 1))
    over_seeds = None
    if len(one) == len(other) > 1:
        over_seeds = interval([ours - theirs for ours, theirs in zip(known_ours, known_theirs, strict=True)]).half
    return fmean(known_ours), fmean(known_theirs), low, high, p, over_seeds, len(cluster), int(cluster.max()) + 1


def bootstrap(figures: Sequence[Statistic], cluster: npt.NDArray[np.intp], draws: int, seed: int) -> Numbers:
    """Figures [F, draws] of samples [N] whose clusters (0 to K − 1, each there) are drawn anew, K of K; the same draws
    for all figures."""
    clusters, generator = int(cluster.max()) + 1, np.random.default_rng(seed)
    found, at_once = np.empty((len(figures), draws)), max(1, _AT_ONCE // len(cluster))
    for start in range(0, draws, at_once):
        now = min(at_once, draws - start)
        picked = generator.integers(0, clusters, (now, clusters)) + clusters * np.arange(now)[:, None]
        times = np.bincount(picked.ravel(), minlength=now * clusters).reshape(now, clusters).astype(np.float64)
        weights = times[:, cluster]
        for number, figure in enumerate(figures):
            found[number, start : start + now] = figure.at(weights)
    return found
