"""What labels can be told from vectors."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluate.metrics.label_probes import (
    linear_probes,
    nearest_neighbours,
    surest_right,
)


def clouds(seed=0, count=120, classes=3, width=5, spread=1.0):
    rng = np.random.default_rng(seed)
    numbers = rng.integers(0, classes, count)
    centres = rng.normal(size=(classes, width))
    features = centres[numbers] + spread * rng.normal(size=(count, width))
    return torch.from_numpy(features), np.eye(classes, dtype=bool)[numbers]


@pytest.mark.parametrize("one", [True, False])
def test_a_linear_probe_is_the_minimum_of_its_objective(one):
    """At the minimum of a convex function its gradient, written out, is 0."""
    features, there = clouds()
    if not one:
        there = there | np.roll(there, 1, 0)
    decays = (1.0, 0.01)
    for decay, probe in zip(decays, linear_probes(features, there, one, decays), strict=True):
        logits = torch.from_numpy(probe.scores(features))
        told = logits.softmax(1) if one else logits.sigmoid()
        apart = (told - torch.from_numpy(there).double()) / len(features)
        whitened = (features - features.mean(0)) / features.std(0, correction=0)
        assert (whitened.T @ apart + decay * probe.weights).abs().max() < 1e-6
        assert apart.sum(0).abs().max() < 1e-6


def test_of_two_classes_and_one_feature_by_hand():
    """ln p/(1−p) of ±x: with symmetric samples the bias is 0, and the weight solves 2w = (1 − tanh w) / decay · 1/2."""
    features, there = torch.tensor([[-1.0], [1.0]]), np.array([[True, False], [False, True]])
    (probe,) = linear_probes(features, there, True, (0.1,))
    w = float(probe.weights[0, 1])
    assert probe.weights[0, 0].item() == pytest.approx(-w)
    assert 0.1 * w == pytest.approx(1 / (1 + np.exp(2 * w)), abs=1e-6)


def test_features_that_are_always_the_same_tell_how_common_classes_are():
    _, there = clouds()
    same = torch.full((120, 4), 0.1)
    (probe,) = linear_probes(same, there, True, (1e-3,))
    shares = F.softmax(torch.from_numpy(probe.scores(same)), 1)
    assert shares.numpy() == pytest.approx(np.broadcast_to(there.mean(0), (120, 3)), abs=1e-6)
    assert nearest_neighbours(same, there, same[:2], 20) == pytest.approx(np.broadcast_to(there.mean(0), (2, 3)))


def test_nearest_neighbours_vote_by_their_cosine():
    learnt, there = torch.tensor([[1.0, 0], [0.6, 0.8], [0, 1], [-1, 0]]), np.eye(4, dtype=bool)
    found = nearest_neighbours(learnt, there, torch.tensor([[2.0, 0]]), 2, temperature=0.5)
    votes = np.exp(np.array([1.0, 0.6, -np.inf, -np.inf]) / 0.5)
    assert found[0] == pytest.approx(votes / votes.sum())


@settings(max_examples=30)
@given(st.integers(0, 50), st.integers(1, 30))
def test_nearest_neighbours_are_those_of_a_plain_loop(seed, neighbours):
    features, there = clouds(seed, 40)
    learnt, asked = features[:30], features[30:]
    found = nearest_neighbours(learnt, there[:30], asked, neighbours)
    for place, query in enumerate(asked.numpy()):
        cosines = [float(query @ one / np.linalg.norm(query) / np.linalg.norm(one)) for one in learnt.numpy()]
        nearest = sorted(range(30), key=lambda one: -cosines[one])[:neighbours]
        votes = sum(np.exp(cosines[one] / 0.07) * there[one] for one in nearest)
        assert found[place] == pytest.approx(votes / votes.sum(), abs=1e-6)


def test_figures_by_hand():
    there = np.array([[True, False], [True, False], [False, True]])
    scores = np.array([[0.9, 0.1], [0.4, 0.4], [np.nan, 0.9]])
    assert surest_right(scores, there).tolist() == [1, 0.5, 0]


@given(st.integers(0, 30), st.integers(0, 39), st.floats(0.1, 5))
def test_to_be_surer_of_what_is_there_never_scores_less(seed, place, more):
    rng = np.random.default_rng(seed)
    scores, there = rng.integers(0, 4, (40, 3)).astype(float), np.eye(3, dtype=bool)[rng.integers(0, 3, 40)]
    better = scores.copy()
    better[place] += more * there[place]
    assert surest_right(better, there).mean() >= surest_right(scores, there).mean()


def test_of_features_that_are_no_numbers_no_neighbour_tells_anything():
    learnt, there = torch.eye(3), np.eye(3, dtype=bool)
    found = nearest_neighbours(learnt, there, torch.tensor([[1.0, 0, 0], [float("nan"), 0, 0]]), 2)
    assert surest_right(found, np.array([[True, False, False]] * 2)).tolist() == [1, 0]
