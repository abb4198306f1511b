import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.stream.mixture import CYCLE, Mixture, runs_of, shares_of
from pipeline.stream.order import RUN

weights = st.dictionaries(st.sampled_from("abcd"), st.floats(0.01, 100), min_size=1)
positions = st.integers(0, 3 * CYCLE * RUN)


@given(weights)
def test_the_runs_of_a_cycle_are_all_dealt_and_follow_the_weights(shares):
    runs = runs_of(shares)
    assert sum(runs.values()) == CYCLE
    total = sum(shares.values())
    for name, share in shares.items():
        assert abs(runs[name] / CYCLE - share / total) < len(shares) / CYCLE


@settings(deadline=None)
@given(weights, positions, st.integers(1, 500))
def test_each_set_is_read_in_its_own_order_and_from_any_position(shares, start, length):
    mixture = Mixture.start(shares, 1)
    picks = mixture.picks(range(start, start + length))
    read = mixture.read_before(start)
    assert sum(read.values()) == start
    for number, name in enumerate(mixture.names):
        mine = picks.positions[picks.sets == number]
        assert mine.tolist() == list(range(read[name], read[name] + len(mine)))


@settings(deadline=None)
@given(weights, weights, st.integers(0, 300), st.integers(0, 300), st.integers(1, 200))
def test_other_weights_and_sets_go_on_where_each_set_stopped(first, second, stop, more, length):
    mixture = Mixture.start(first, 1)
    resumed = Mixture.resume(second, 1, mixture.history, stop)
    assert (resumed.history != mixture.history) == (runs_of(first) != runs_of(second))
    read = mixture.read_before(stop)
    picks = resumed.picks(range(stop, stop + more + length))
    for number, name in enumerate(resumed.names):
        mine = picks.positions[picks.sets == number].tolist()
        assert mine == list(range(read.get(name, 0), read.get(name, 0) + len(mine)))
    again = Mixture.resume(second, 1, resumed.history, stop + more)
    assert again.history == resumed.history
    later = again.picks(range(stop + more, stop + more + length))
    assert later.positions.tolist() == picks.positions[more:].tolist()
    assert later.sets.tolist() == picks.sets[more:].tolist()


def test_a_set_that_left_and_comes_back_goes_on():
    first = Mixture.start({"a": 1, "b": 1}, 0)
    alone = Mixture.resume({"b": 1}, 0, first.history, 800)
    back = Mixture.resume({"a": 1, "b": 1}, 0, alone.history, 1600)
    picks = back.picks(range(1600, 2400))
    assert picks.positions[picks.sets == 0][0] == first.read_before(800)["a"]
    assert picks.positions[picks.sets == 1][0] == first.read_before(800)["b"] + 800


@pytest.mark.parametrize(
    ("mix", "weights", "expected"),
    [
        ("samples", (1, 3), 1 / 4),
        ("epochs", (1, 1), 100 / 5000),
        ("epochs", (2, 1), 200 / 5100),
        ("temperature", (1, 1), 1 / 8),
    ],
)
def test_what_weights_mean(mix, weights, expected):
    """Of sets of 100 and 4 900 samples; at temperature 2 the shares are as 10 to 70."""
    shares = shares_of({"small": 100, "large": 4900}, dict(zip(("small", "large"), weights, strict=True)), mix, 2.0)
    assert shares["small"] / sum(shares.values()) == pytest.approx(expected)
    picks = Mixture.start(shares, 0).picks(range(CYCLE * RUN))
    assert np.mean(picks.sets == 0) == pytest.approx(expected, abs=2 / CYCLE)
