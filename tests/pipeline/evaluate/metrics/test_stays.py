"""How much of a map is still there in another."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluate.metrics.stays import scaled, stays

TRUTH = np.zeros((3, 3), bool)
TRUTH[0, :] = True
OWN = np.array([[9.0, 8, 1], [7, 2, 2], [0, 0, 0]])


def drawn(seed, count=2):
    generator = np.random.default_rng(seed)
    maps = np.round(generator.normal(size=(count, 6, 6)), 1)
    return [*maps, generator.random((6, 6)) < 0.4]


def test_by_hand():
    """The three highest are 9, 8 and 7, of which two lie on the truth."""
    assert stays(OWN, OWN, TRUTH) == (1, 1)
    assert stays(OWN, np.where(OWN == 8, 6, OWN), TRUTH) == pytest.approx((2 / 3, 1 / 2))
    assert stays(OWN, OWN - 2, TRUTH) == pytest.approx((1 / 3, 1 / 2))
    assert stays(OWN, np.where(OWN > 5, 6.9, 100), TRUTH) == (0, 0)


@given(st.integers(0, 10_000))
def test_a_map_that_does_not_change_stays_and_one_that_rises_stays_too(seed):
    own, other, truth = drawn(seed)
    for higher in (own, own + np.abs(other)):
        assert (
            set(stays(own, higher, truth)) <= {1.0} | {value for value in stays(own, own, truth) if value != value}
            or not truth.any()
        )


@given(st.integers(0, 10_000))
def test_less_never_stays_of_a_higher_map_and_the_units_of_both_are_of_no_account(seed):
    own, other, rise, truth = drawn(seed, 3)
    plain, higher, warped = (
        stays(*pair, truth) for pair in ((own, other), (own, other + np.abs(rise)), (np.exp(own), np.exp(other)))
    )
    assert warped == pytest.approx(plain, nan_ok=True)
    for less, more in zip(plain, higher, strict=True):
        assert math.isnan(less) or less <= more


def test_scaling_hides_that_a_map_has_sunk():
    assert stays(OWN, OWN / 100, TRUTH) == (0, 0)
    assert stays(scaled(OWN), scaled(OWN / 100), TRUTH) == (1, 1)
    assert scaled(np.full((2, 2), 5.0)).tolist() == [[0, 0], [0, 0]]


def test_what_can_not_be_compared():
    broken = np.where(OWN == 8, np.nan, OWN)
    assert stays(OWN, broken, TRUTH) == (0, 0)
    assert all(map(math.isnan, stays(broken, OWN, TRUTH)))
    assert all(map(math.isnan, stays(OWN, OWN, ~TRUTH & TRUTH)))
    overall, on_truth = stays(OWN, OWN, np.roll(TRUTH, 2, axis=0))  # none of the highest lies there
    assert overall == 1
    assert math.isnan(on_truth)
