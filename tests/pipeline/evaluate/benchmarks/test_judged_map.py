"""One map on one sample: against the public evaluators' code written out, with ties, annotators and empty truths; and a
better map never scores less."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluate.benchmarks.judged_map import SHARES, judge_map
from pipeline.evaluate.benchmarks.sample import TRUTH_SIZE, BenchmarkSample
from pipeline.evaluate.metrics.ciou import Overlap

Array = npt.NDArray[np.float64]
PIXELS = TRUTH_SIZE**2
corner = st.integers(0, TRUTH_SIZE)
boxes = st.lists(st.tuples(corner, corner, corner, corner), max_size=3)


def random_map(seed: int, levels: int) -> npt.NDArray[np.float32]:
    """Rough, or with only so many values."""
    heat = np.random.default_rng(seed).random((TRUTH_SIZE, TRUTH_SIZE))
    return (np.floor(heat * levels) if levels else heat).astype(np.float32)


def formula(predicted: npt.NDArray[np.bool_], truth: Array) -> float:
    """Σ(P·G) / (ΣG + Σ P·[G == 0]), nought where nothing is predicted and nothing true."""
    below = truth.sum() + (predicted * (truth == 0)).sum()
    return float((predicted * truth).sum() / below) if below else 0.0


def drawn_truth(found: list[tuple[int, int, int, int]], votes: int) -> Array:
    covered = np.zeros((TRUTH_SIZE, TRUTH_SIZE))
    for x1, y1, x2, y2 in found:
        covered[y1:y2, x1:x2] += 1
    return np.minimum(covered / votes, 1.0)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(0, 6), boxes, st.sampled_from([1, 2]))
def test_official_rows_are_the_official_code_ties_and_all(
    seed: int, levels: int, found: list[tuple[int, int, int, int]], votes: int
) -> None:
    heat, truth = random_map(seed, levels), drawn_truth(found, votes)
    judged = judge_map(heat, BenchmarkSample("id", tuple(found), votes=votes), thorough=True)
    assert judged.official is not None
    low, high = heat.min(), heat.max()
    scaled = heat if low == high else (heat - low) / (high - low)
    ordered = np.sort(scaled.ravel())
    median = ordered[PIXELS // 2]
    area = int((truth != 0).sum()) or PIXELS // 2
    assert judged.official.above == pytest.approx(formula(scaled > median, truth), abs=1e-9)
    assert judged.official.from_median == pytest.approx(formula(scaled >= median, truth), abs=1e-9)
    assert judged.official.adaptive == pytest.approx(formula(scaled > ordered[PIXELS - area], truth), abs=1e-9)
    assert judged.confidence == pytest.approx(float(np.sort(heat.ravel())[-PIXELS // 4 :].mean(dtype=np.float64)))
    if not levels:  # with other numbers of levels a share may lie on one of them, where rounding decides
        for share, ciou in zip(SHARES, judged.by_level, strict=True):
            assert ciou == pytest.approx(formula(scaled >= np.float32(share), truth), abs=1e-3)
        for share, ciou in zip(SHARES, judged.by_area, strict=True):
            exactly = scaled >= ordered[PIXELS - round(share * PIXELS)]
            if exactly.sum() == round(share * PIXELS) and truth.any():
                assert ciou == pytest.approx(formula(exactly, truth), abs=1e-9)


small = st.lists(st.tuples(st.integers(0, 4), st.sampled_from([0.0, 0.5, 1.0])), min_size=1, max_size=36)


@settings(deadline=None)
@given(small, st.integers(0, 4), st.booleans())
def test_a_map_that_is_higher_on_the_truth_covers_no_less_of_it(
    drawn: list[tuple[int, float]], raised: int, annotators: bool
) -> None:
    heat, weights = (np.array([column], dtype=np.float64) for column in zip(*drawn, strict=True))
    truth = weights if annotators else weights > 0
    before, after = Overlap(heat, truth), Overlap(heat + raised * (weights > 0), truth)
    every = range(heat.size + 1)
    assert (after.cious(after.ranking.cuts(every)) >= before.cious(before.ranking.cuts(every)) - 1e-12).all()


def test_at_the_border_and_for_the_whole_frame() -> None:
    whole = BenchmarkSample("id", ((0, 0, TRUTH_SIZE, TRUTH_SIZE),))
    corner_pixel = BenchmarkSample("id", ((TRUTH_SIZE - 1, TRUTH_SIZE - 1, TRUTH_SIZE, TRUTH_SIZE),))
    heat = np.arange(PIXELS, dtype=np.float64).reshape(TRUTH_SIZE, TRUTH_SIZE)
    assert judge_map(heat, whole).score.ciou == pytest.approx((PIXELS // 2 - 1) / PIXELS)
    assert judge_map(heat, whole).score.ciou_adap == 1.0
    assert judge_map(heat, corner_pixel).score.pointing
    assert judge_map(heat, corner_pixel).score.ciou_adap == 1.0
    assert not judge_map(-heat, corner_pixel).score.pointing
