"""Average precision over pixels, CAP and PIAP: by hand and against the definition written out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluate.metrics.average_precision import average_precision
from pipeline.evaluate.metrics.pixel_precision import (
    class_aware,
    permutation_invariant,
    pixel_average_precisions,
    swapped_average_precision,
)

pixels = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=40)


@given(pixels)
def test_pixels_are_ranked_as_average_precision_ranks_them(drawn: list[tuple[int, bool]]) -> None:
    heat, truth = np.array([[value for value, _ in drawn]], float), np.array([[inside for _, inside in drawn]])
    expected = average_precision(heat.ravel(), truth.ravel())
    assert pixel_average_precisions(heat, [truth]) == [pytest.approx(0.0 if expected is None else expected)]


@given(pixels, st.data())
def test_a_higher_value_inside_lowers_nothing(drawn: list[tuple[int, bool]], data: st.DataObject) -> None:
    heat, truth = np.array([[value for value, _ in drawn]], float), np.array([[inside for _, inside in drawn]])
    better = heat + truth * data.draw(st.integers(0, 5))
    assert pixel_average_precisions(better, [truth])[0] >= pixel_average_precisions(heat, [truth])[0] - 1e-12


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_the_swapped_one_is_average_precision_with_its_arguments_swapped(drawn: list[tuple[bool, bool]]) -> None:
    predicted, truth = (np.array(column) for column in zip(*drawn, strict=True))
    expected = average_precision(truth.astype(float), predicted)
    found = swapped_average_precision(predicted.sum(), (predicted & truth).sum(), truth.sum(), predicted.size)
    assert found == pytest.approx(0.0 if expected is None else expected)


def test_cap_is_the_diagonal_and_piap_the_best_order() -> None:
    precisions = [[0.2, 0.9], [0.7, 0.4]]  # of map i against source k
    assert class_aware(precisions) == pytest.approx(0.3)
    assert permutation_invariant(precisions) == pytest.approx(0.8)
    assert permutation_invariant([[0.5]]) == 0.5


def test_a_hand_worked_map() -> None:
    heat, truth = np.array([[4.0, 3.0, 2.0, 1.0]]), np.array([[True, False, True, False]])
    assert pixel_average_precisions(heat, [truth, ~truth]) == pytest.approx([(1 + 2 / 3) / 2, (1 / 2 + 2 / 4) / 2])
    assert pixel_average_precisions(np.ones((1, 4)), [truth]) == [0.5]
    assert pixel_average_precisions(heat, [np.zeros((1, 4), bool)]) == [0.0]
