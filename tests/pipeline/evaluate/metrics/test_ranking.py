"""How high the right one stands."""

from itertools import combinations, pairwise, permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluate.metrics.average_precision import average_precision
from pipeline.evaluate.metrics.ranking import average_precisions, standings


def standing(alike, own, others=None):
    """Of one query."""
    row = torch.tensor([alike], dtype=torch.float64)
    left = torch.ones_like(row, dtype=torch.bool) if others is None else torch.tensor([others])
    return standings(row, torch.tensor([own]), left)


def tried_out(alike, own, k, pool):
    """Recall and mean rank over every draw of a pool and every order of what is equally like, one after the other."""
    others = [place for place in range(len(alike)) if place != own]
    means = []
    for drawn in combinations(others, min(pool - 1, len(others))):
        orders = [
            order
            for order in permutations([own, *drawn])
            if all(alike[one] >= alike[two] for one, two in pairwise(order))
        ]
        places = [order.index(own) for order in orders]
        means.append((np.mean([place < k for place in places]), np.mean(places) + 1))
    return np.mean(means, axis=0)


def test_by_hand():
    own_second = standing([0.5, 0.9, 0.1, 0.2], 0)
    assert (own_second.above.item(), own_second.level.item(), own_second.wrong.item()) == (1, 0, 3)
    assert [own_second.recall(k).item() for k in (1, 2, 3)] == [0, 1, 1]
    assert own_second.recall(1, pool=2).item() == pytest.approx(2 / 3)  # of three others one is better
    assert own_second.recall(1, pool=3).item() == pytest.approx(1 / 3)  # C(2, 2) / C(3, 2)
    assert own_second.ranks().item() == 2
    tied = standing([0.5, 0.5, 0.1, 0.5], 0)
    assert [tied.recall(k).item() for k in (1, 2, 3)] == pytest.approx([1 / 3, 2 / 3, 1])
    assert tied.ranks().item() == 2


@given(st.lists(st.integers(0, 3), min_size=2, max_size=6), st.integers(1, 3), st.integers(2, 6))
def test_recall_and_rank_are_what_all_draws_and_all_orders_of_ties_give(alike, k, pool):
    found = standing(alike, 0)
    recall, rank = tried_out(alike, 0, k, pool)
    assert found.recall(k, pool).item() == pytest.approx(recall, abs=1e-9)
    assert found.ranks(pool).item() == pytest.approx(rank, abs=1e-9)
    if pool >= len(alike):
        assert found.recall(k).item() == pytest.approx(recall, abs=1e-9)


@pytest.mark.parametrize("pool", [None, 8, 100])
def test_who_finds_all_alike_scores_what_guessing_does(pool):
    alike, own = torch.zeros(50, 50), torch.arange(50)
    found, size = standings(alike, own, torch.ones(50, 50, dtype=torch.bool)), min(pool or 50, 50)
    assert found.recall(1, pool) == pytest.approx(np.full(50, 1 / size))
    assert found.recall(5, pool) == pytest.approx(np.full(50, 5 / size))
    assert found.ranks(pool) == pytest.approx(np.full(50, (size + 1) / 2))


@given(st.lists(st.integers(0, 4), min_size=2, max_size=30), st.integers(1, 3), st.integers(1, 4))
def test_a_better_similarity_never_scores_less(alike, more, k):
    before, after = standing(alike, 0), standing([alike[0] + more, *alike[1:]], 0)
    for pool in (None, 3):
        assert after.recall(k, pool).item() >= before.recall(k, pool).item() - 1e-12
        assert after.ranks(pool).item() <= before.ranks(pool).item()


def test_what_is_left_out_is_neither_right_nor_wrong():
    found = standing([0.5, 0.9, 0.9, 0.2], 0, [True, False, True, True])
    assert (found.above.item(), found.wrong.item()) == (1, 2)


def test_what_is_no_number_stands_last():
    assert standing([float("nan"), 0.1, 0.2], 0).recall(1).item() == 0
    assert standing([float("nan"), float("nan"), 0.2], 0).ranks().item() == 3
    assert standing([0.1, float("nan"), float("inf")], 0).recall(1).item() == 1


def test_a_large_pool_agrees_with_the_definition():
    """1 − Π (1 − above / …): none of the better ones is drawn."""
    found = standing([0.5, *np.linspace(0, 1, 4000)], 0)
    above, wrong = found.above.item(), found.wrong.item()
    none_better = np.prod([(wrong - above - drawn) / (wrong - drawn) for drawn in range(7)])
    assert found.recall(1, pool=8).item() == pytest.approx(none_better, abs=1e-9)


@given(st.integers(1, 12).flatmap(lambda n: st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=n)))
def test_average_precisions_are_those_of_each_row(row):
    alike, there = (np.array(one) for one in zip(*row, strict=True))
    counted = torch.ones(2, len(row) + 1, dtype=torch.bool)
    counted[:, -1] = False  # the most like of all, and left out
    scores = torch.tensor([*alike, 9.0]).expand(2, -1)
    found = average_precisions(scores, torch.tensor([*there, True]).expand(2, -1), counted)
    wanted = average_precision(alike.astype(float), there)
    assert found == pytest.approx(np.full(2, np.nan if wanted is None else wanted), nan_ok=True, abs=1e-12)
