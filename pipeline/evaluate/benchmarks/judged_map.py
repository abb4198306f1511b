"""All that one map is worth, for any figure of a benchmark."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.evaluate.benchmarks.sample import TRUTH_SIZE, BenchmarkSample
from pipeline.evaluate.metrics.ciou import Overlap
from pipeline.evaluate.metrics.detection import top_quarter
from pipeline.evaluate.metrics.pixel_precision import pixel_average_precisions, swapped_average_precision
from pipeline.evaluate.metrics.pointing import points_at
from pipeline.evaluate.metrics.resize import resize_map
from pipeline.evaluate.metrics.scores import SampleScore

SHARES = tuple(step / 20 for step in range(1, 20))
"""Of the area, and of the way from a map's minimum to its maximum: where a sweep cuts the map."""


@dataclass(frozen=True)
class Official:
    """cIoU of a map by the public evaluators' own code, where equal values move it.

    Attributes:
        above: what lies above the median counts as predicted (LVS, IS3).
        from_median: what lies on it too (EZ-VSL, SLAVC, AVGN).
        adaptive: what lies above `sort(map)[N − area]` (IS3); of an empty truth the area is half the map.
        swapped: average precision of what lies on the median or above, with prediction and truth swapped (AVGN).
    """

    above: float
    from_median: float
    adaptive: float
    swapped: float


@dataclass(frozen=True)
class JudgedMap:
    """What a map scores on its sample.

    Attributes:
        confidence: how sure the model is that what is heard is seen.
        precisions: average precision over pixels against the truth of each source of the image, in their order.
        by_area: cIoU when each of `SHARES` of the area counts as predicted.
        by_level: cIoU when what lies at or above each of `SHARES` between minimum and maximum does.
    """

    score: SampleScore
    confidence: float
    precisions: tuple[float, ...] = ()
    official: Official | None = None
    by_area: tuple[float, ...] = ()
    by_level: tuple[float, ...] = ()


def judge_map(
    heat: npt.NDArray[np.floating],
    sample: BenchmarkSample,
    sources: Sequence[BenchmarkSample] = (),
    confidence: float | None = None,
    thorough: bool = False,
) -> JudgedMap:
    """Judge a map [S, S].

    Args:
        sources: all samples of the same image, in order, where pixels are to be judged.
        confidence: by default the mean of the highest quarter of the map's values.
        thorough: also by the public evaluators' code, and with other thresholds.
    """
    if not np.isfinite(heat).all():
        nothing = tuple(0.0 for _ in SHARES) if thorough else ()
        failed = SampleScore(pointing=False, ciou=0.0, ciou_adap=0.0, finite=False)
        official = Official(0.0, 0.0, 0.0, 0.0) if thorough else None
        worst = -np.inf if sample.sounding else np.inf
        return JudgedMap(
            failed, worst if confidence is None else confidence, tuple(0.0 for _ in sources), official, nothing, nothing
        )
    truth = sample.truth()
    overlap = Overlap(heat, truth)
    pointing = sample.sounding and points_at(heat, truth == 1)
    score = SampleScore(pointing, overlap.ciou(overlap.half), overlap.ciou(overlap.area))
    sure = top_quarter(overlap.ranking) if confidence is None else confidence
    precisions = tuple(pixel_average_precisions(heat, [source.truth() == 1 for source in sources])) if sources else ()
    if not thorough:
        return JudgedMap(score, sure, precisions)
    by_area = tuple(overlap.ciou(round(share * heat.size)) for share in SHARES)
    return JudgedMap(score, sure, precisions, _official(overlap), by_area, _by_level(overlap))


def resized(heat: npt.NDArray[np.floating], align_corners: bool = False) -> npt.NDArray[np.floating]:
    """A map of any size at the size of the truths."""
    if heat.shape == (TRUTH_SIZE, TRUTH_SIZE):
        return heat
    return resize_map(heat, TRUTH_SIZE, align_corners)


def _official(overlap: Overlap) -> Official:
    pixels = len(overlap.ranking.values)
    median = float(overlap.ranking.lowest_of(pixels - pixels // 2))
    as_much = float(overlap.ranking.lowest_of(overlap.area or pixels // 2))
    return Official(
        overlap.ciou_from(median, inclusive=False),
        overlap.ciou_from(median),
        overlap.ciou_from(as_much, inclusive=False),
        swapped_average_precision(overlap.ranking.values >= median, overlap.inside),
    )


def _by_level(overlap: Overlap) -> tuple[float, ...]:
    low, high = float(overlap.ranking.values.min()), float(overlap.ranking.values.max())
    return tuple(overlap.ciou_from(low + share * (high - low)) for share in SHARES)
