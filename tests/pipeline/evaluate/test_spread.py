"""Means over seeds, with Student's interval."""

import math

import pytest

from pipeline.evaluate.spread import interval


def test_the_interval_is_students():
    found = interval([1.0, 2.0, 3.0])
    assert (found.mean, found.half) == (2.0, pytest.approx(4.303 / math.sqrt(3)))
    assert interval([5.0]).half == math.inf


@pytest.mark.parametrize(("freedom", "quantile"), [(10, 2.2281), (20, 2.0860), (60, 2.0003), (100_000, 1.95998)])
def test_beyond_the_table_the_quantile_is_right_to_a_fifth_of_a_per_cent(freedom, quantile):
    count = freedom + 1
    values = [(-1.0) ** place for place in range(count)]
    mean = sum(values) / count
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / freedom)
    assert interval(values).half == pytest.approx(quantile * deviation / math.sqrt(count), rel=2e-3)


def test_seeds_that_agree_have_no_spread():
    assert interval([0.1] * 3) == type(interval([1.0]))(0.1, 0.0)
