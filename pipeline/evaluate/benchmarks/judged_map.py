"""All that one map is worth, for any figure of a benchmark."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.evaluate.benchmarks.sample import TRUTH_SIZE, BenchmarkSample
from pipeline.evaluate.metrics.area import Cuts
from pipeline.evaluate.metrics.ciou import Overlap
from pipeline.evaluate.metrics.detection import top_quarter
from pipeline.evaluate.metrics.pixel_precision import pixel_average_precisions, swapped_average_precision
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
    ranking, pixels = overlap.ranking, heat.size
    sure = top_quarter(ranking) if confidence is None else confidence
    precisions = tuple(pixel_average_precisions(heat, [source.truth() == 1 for source in sources])) if sources else ()
    counts = [1, overlap.half, overlap.area]
    if not thorough:
        cuts = ranking.cuts(counts)
        return JudgedMap(_score(overlap.cious(cuts).tolist(), cuts, sample, truth), sure, precisions)
    counts += [round(share * pixels) for share in SHARES]
    counts += [pixels - pixels // 2, overlap.area or pixels // 2]  # where the public evaluators cut
    of_official = slice(len(counts) - 2, len(counts))
    levels = [float(ranking.low) + share * float(ranking.high - ranking.low) for share in SHARES]
    cuts = ranking.cuts(counts, levels).and_at_equals(of_official)
    cious = overlap.cious(cuts).tolist()
    above, as_much, from_median, _ = cious[-4:]
    taken, hits = int(cuts.counts[-2]), int(overlap.hits(cuts)[-2])
    official = Official(above, from_median, as_much, swapped_average_precision(taken, hits, overlap.area, pixels))
    by_area, by_level = tuple(cious[3 : of_official.start]), tuple(cious[of_official.stop : -4])
    return JudgedMap(_score(cious, cuts, sample, truth), sure, precisions, official, by_area, by_level)


def _score(cious: Sequence[float], cuts: Cuts, sample: BenchmarkSample, truth: npt.NDArray[np.generic]) -> SampleScore:
    """Of cuts whose first takes one pixel, the second half the area, the third as much as the truth has."""
    pixel = cuts.pixels[cuts.end[0] - 1]
    return SampleScore(sample.sounding and bool(truth.flat[pixel] == 1), cious[1], cious[2])


def resized(
    heat: npt.NDArray[np.floating], align_corners: bool = False, shape: tuple[int, int] = (TRUTH_SIZE, TRUTH_SIZE)
) -> npt.NDArray[np.floating]:
    """A map of any size at the size of the truths."""
    return heat if heat.shape == shape else resize_map(heat, shape, align_corners)
