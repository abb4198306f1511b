"""All that one map is worth, for any figure of a benchmark."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.evaluate.benchmarks.sample import TRUTH_SIZE, BenchmarkSample
from pipeline.evaluate.metrics.ciou import Overlap
from pipeline.evaluate.metrics.detection import quarter
from pipeline.evaluate.metrics.pixel_precision import pixel_average_precisions, swapped_average_precision
from pipeline.evaluate.metrics.resize import resize_map
from pipeline.evaluate.metrics.scores import SampleScore

SHARES = tuple(step / 20 for step in range(1, 20))
"""Of the area, and of the way from a map's minimum to its maximum: where a sweep cuts the map."""

_SHARES = np.array(SHARES)


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
    """Judge a map [h, w] of the truth's size.

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
    ranking, pixels = overlap.ranking, heat.size
    precisions = tuple(pixel_average_precisions(heat, [source.truth() == 1 for source in sources])) if sources else ()
    counts, levels = [1, overlap.half, overlap.area, quarter(pixels)], np.empty(0)
    swept = slice(len(counts), len(counts) + len(SHARES))
    if thorough:
        counts += np.rint(_SHARES * pixels).astype(int).tolist()
        counts += [pixels - pixels // 2, overlap.area or pixels // 2]  # where the public evaluators cut
        levels = float(ranking.low) + _SHARES * float(ranking.high - ranking.low)
    cuts = ranking.cuts(counts, levels)
    if thorough:
        cuts = cuts.and_at_equals(slice(swept.stop, len(counts)))
    hits = overlap.hits(cuts)
    cious = overlap.cious(cuts, hits).tolist()
    points = sample.sounding and bool(truth.flat[cuts.pixels[0]] == 1)
    sure = ranking.mean_of(cuts, 3) if confidence is None else confidence
    score = SampleScore(points, cious[1], cious[2])
    if not thorough:
        return JudgedMap(score, sure, precisions)
    above, adaptive, from_median, _ = cious[-4:]
    swapped = swapped_average_precision(int(cuts.counts[-2]), int(hits[-2]), overlap.area, pixels)
    official = Official(above, from_median, adaptive, swapped)
    return JudgedMap(score, sure, precisions, official, tuple(cious[swept]), tuple(cious[len(counts) : -4]))


def resized(
    heat: npt.NDArray[np.floating], align_corners: bool = False, shape: tuple[int, int] = (TRUTH_SIZE, TRUTH_SIZE)
) -> npt.NDArray[np.floating]:
    """A map of any size at the size of the truths."""
    return heat if heat.shape == shape else resize_map(heat, shape, align_corners)
