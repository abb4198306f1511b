"""Telling two kinds apart by a confidence, and making it a probability."""

import numpy as np
import pytest

from pipeline.evaluate.metrics.confidence import best_threshold, calibrated, calibration_error, fit_platt

random = np.random.default_rng(0)


def test_slope_and_shift_are_found_again_whatever_the_share_of_each_kind():
    logits = random.normal(0, 3, 40_000)
    is_present = random.random(len(logits)) < 1 / (1 + np.exp(-(0.5 * logits - 1)))
    present, absent = logits[is_present], logits[~is_present]
    slope, shift = fit_platt(present, absent)
    prior = np.log(len(present) / len(absent))
    assert (slope, shift) == (pytest.approx(0.5, abs=0.02), pytest.approx(-1 - prior, abs=0.05))
    sure = calibrated(present, (slope, shift)), calibrated(absent, (slope, shift))
    assert calibration_error(*sure) < 0.01 < calibration_error(calibrated(present, (2, 0)), calibrated(absent, (2, 0)))


def test_kinds_that_do_not_overlap_have_a_finite_slope():
    slope, shift = fit_platt(np.array([5.0, 6.0]), np.array([-2.0, -3.0]))
    assert np.isfinite([slope, shift]).all()
    assert calibrated(np.array([5.0]), (slope, shift)) > 0.99 > 0.01 > calibrated(np.array([-2.0]), (slope, shift))


def test_the_threshold_lies_between_what_it_tells_apart():
    assert 2 < best_threshold(np.array([3.0, 4.0, 5.0]), np.array([0.0, 1.0, 2.0])) < 3
    assert best_threshold(np.array([1.0]), np.array([1.0])) < 1
