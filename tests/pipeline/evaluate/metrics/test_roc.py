"""Area under the ROC curve against its definition."""

import numpy as np
import pytest

from pipeline.evaluate.metrics.roc import area_under_roc


def test_it_is_the_share_of_pairs_in_order_with_equal_scores_as_half_a_pair():
    random = np.random.default_rng(0)
    present, absent = random.integers(0, 9, 40).astype(float), random.integers(0, 7, 30).astype(float)
    pairs = [(one > other) + (one == other) / 2 for one in present for other in absent]
    assert area_under_roc(present, absent) == pytest.approx(np.mean(pairs))
    assert area_under_roc(np.array([2.0, 1.0]), np.array([1.0, 0.0])) == 0.875


def test_the_least_confidence_there_is_counts():
    assert area_under_roc(np.array([1.0]), np.array([-np.inf])) == 1.0


def test_without_one_of_the_kinds_it_is_unknown():
    assert area_under_roc(np.array([]), np.array([1.0])) is None
    assert area_under_roc(np.array([1.0]), np.array([])) is None
