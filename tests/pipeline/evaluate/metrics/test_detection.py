"""Average precision and F1 where some samples don't sound: by hand, against SLAVC's code written out, and never lower
for better maps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluate.metrics.area import Ranking
from pipeline.evaluate.metrics.detection import PrecisionRecall, slavc_average_precision, slavc_max_f1, top_quarter

Sample = tuple[float, bool, bool]
samples = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9]) | st.floats(-2, 2), st.booleans(), st.booleans()),
    min_size=2,
    max_size=25,
)


def columns(drawn: list[Sample]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    confidences, localised, sounding = zip(*drawn, strict=True)
    return np.array(confidences), np.array(localised), np.array(sounding)


def counted(drawn: list[Sample], threshold: float) -> tuple[float, float]:
    """SLAVC's precision and recall, sample by sample."""
    right = wrong = missed = 0
    for confidence, localised, sounding in drawn:
        if confidence >= threshold:
            right += localised and sounding
            wrong += not (localised and sounding)
        else:
            missed += sounding
    precision = right / (right + wrong) if right + wrong else 1.0
    return precision, right / (right + missed) if right + missed else 1.0


@given(samples)
def test_precision_and_recall_are_counted_as_slavc_counts_them(drawn: list[Sample]) -> None:
    curve = PrecisionRecall.of(*columns(drawn))
    for at, precision, recall in zip(curve.thresholds, curve.precision, curve.recall, strict=True):
        assert (precision, recall) == pytest.approx(counted(drawn, at))


@given(samples)
def test_the_official_row_is_slavcs_own_code(drawn: list[Sample]) -> None:
    confidences = columns(drawn)[0]
    points = [counted(drawn, at) for at in np.sort(confidences)[:-1][:: -max(1, len(confidences) // 200)]]
    highest = [max(precision for precision, _ in points[place:]) for place in range(len(points))]
    area = sum(highest[i] * (points[i + 1][1] - points[i][1]) for i in range(len(points) - 1))
    assert slavc_average_precision(*columns(drawn)) == pytest.approx(area)
    some = [counted(drawn, at) for at in sorted(confidences)[:: max(1, len(confidences) // 10)]]
    f1 = max(2 * r * p / (r + p) if r + p > 0 else 0.0 for p, r in some)
    assert slavc_max_f1(*columns(drawn)) == pytest.approx(f1)


@given(samples, st.data())
def test_a_sample_that_is_localised_after_all_lowers_nothing(drawn: list[Sample], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(drawn) - 1))
    better = [*drawn]
    better[place] = (drawn[place][0], True, drawn[place][2])
    before, after = (PrecisionRecall.of(*columns(one)) for one in (drawn, better))
    assert after.average_precision >= before.average_precision - 1e-12
    assert after.f1.max() >= before.f1.max() - 1e-12


def test_a_hand_worked_curve() -> None:
    # confidences 0.9 right, 0.8 doesn't sound, 0.7 sounds elsewhere, 0.6 right
    drawn = [(0.9, True, True), (0.8, False, False), (0.7, False, True), (0.6, True, True)]
    curve = PrecisionRecall.of(*columns(drawn))
    assert curve.precision.tolist() == pytest.approx([1, 1 / 2, 1 / 3, 2 / 4])
    assert curve.recall.tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 2, 1])
    # envelope 1, 1/2, 1/2, 1/2 over steps of recall 1/3, 0, 1/6, 1/2
    assert curve.average_precision == pytest.approx(1 / 3 + 1 / 12 + 1 / 4)
    assert curve.f1.max() == pytest.approx(2 / 3)


def test_confidence_is_the_mean_of_the_highest_quarter() -> None:
    assert top_quarter(Ranking(np.arange(16.0).reshape(4, 4))) == pytest.approx((15 + 14 + 13 + 12) / 4)
    assert top_quarter(Ranking(np.arange(5.0).reshape(1, 5))) == pytest.approx((4 + 3) / 2)  # as `[-n // 4:]` has it
