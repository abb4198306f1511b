"""Figures of samples that count so many times are those of samples that are there so many times."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluate.metrics.average_precision import average_precision
from pipeline.evaluate.metrics.roc import area_under_roc
from pipeline.evaluate.metrics.statistics import (
    STATISTICS,
    AreaUnderRoc,
    Mean,
    MeanAveragePrecision,
    MeanOfRatios,
    Median,
)


def drawn(kind, seed, samples):
    """A statistic of few different values, so that many are equal."""
    generator = np.random.default_rng(seed)
    values = np.round(generator.random(samples), 1)
    there = generator.random((3, samples)) < 0.5
    return {
        "mean": lambda: Mean(np.where(there[0], values, np.nan)),
        "median": lambda: Median(np.where(there[0], values, np.nan)),
        "mean_of_ratios": lambda: MeanOfRatios((there & there[::-1])[None] * 1.0, there[None] * 1.0),
        "area_under_roc": lambda: AreaUnderRoc(np.where(there[0], values, np.nan), np.where(there[1], values, np.nan)),
        "mean_average_precision": lambda: MeanAveragePrecision(np.round(generator.random((3, samples)), 1), there),
    }[kind]()


@pytest.mark.parametrize("kind", STATISTICS)
@given(seed=st.integers(0, 10_000), times=st.lists(st.integers(0, 3), min_size=1, max_size=12))
def test_a_weight_is_as_good_as_so_many_copies(kind, seed, times):
    statistic = drawn(kind, seed, len(times))
    weighted = float(statistic.at(np.array([times, times], np.float64))[1])
    copies = np.repeat(np.arange(len(times)), times)
    copied = statistic.of(copies).value if len(copies) else None
    assert np.isnan(weighted) if copied is None else weighted == pytest.approx(copied)


@given(seed=st.integers(0, 10_000), samples=st.integers(2, 30))
def test_the_area_and_the_precision_are_those_of_all_samples(seed, samples):
    one = drawn("area_under_roc", seed, samples)
    present, absent = (array[~np.isnan(array)] for array in one.arrays.values())
    plain = area_under_roc(present, absent)
    assert one.value is None if plain is None else one.value == pytest.approx(plain)
    several = drawn("mean_average_precision", seed, samples)
    of_classes = [average_precision(*of_class) for of_class in zip(several.scores, several.there, strict=True)]
    known = [value for value in of_classes if value is not None]
    assert several.value is None if not known else several.value == pytest.approx(np.mean(known))


def test_means_of_ratios_by_hand():
    """Classes are told 1 of 2, 0 of 1 and never there; beside them 3 of 4."""
    numerators, denominators = np.zeros((2, 3, 4)), np.zeros((2, 3, 4))
    denominators[0, 0, :2] = denominators[0, 1, 2] = denominators[1, 0] = 1
    numerators[0, 0, 0] = 1
    numerators[1, 0, :3] = 1
    assert MeanOfRatios(numerators, denominators).value == pytest.approx((0.25 + 0.75) / 2)
    assert MeanOfRatios(numerators[:1], denominators[:1] * 0).value is None


@given(seed=st.integers(0, 10_000), samples=st.integers(1, 30))
def test_the_median_is_that_of_all_samples(seed, samples):
    one = drawn("median", seed, samples)
    known = one.values[one.known]
    assert one.value is None if not len(known) else one.value == pytest.approx(np.median(known))


def test_samples_that_say_nothing_are_no_part_of_a_mean():
    mean = Mean(np.array([1.0, np.nan, 0.0]))
    assert mean.value == 0.5
    assert mean.known.tolist() == [True, False, True]
    assert Mean(np.array([np.nan])).value is None
