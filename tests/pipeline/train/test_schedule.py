"""Learning rate over the steps."""

from itertools import pairwise

import pytest
from pydantic import ValidationError

from pipeline.train.schedule import learning_rate_at
from pipeline.train.settings import TrainSettings


def rates(**settings):
    train = TrainSettings.model_validate({"learning_rate": 1.0} | settings)
    return [learning_rate_at(step, train) for step in range(train.steps)]


def test_warm_up_rises_in_a_line_and_constant_stays():
    found = rates(steps=20, warmup_steps=4)
    assert found[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert set(found[4:]) == {1.0}


def test_a_cosine_falls_to_the_final_rate():
    found = rates(steps=110, warmup_steps=10, schedule="cosine", final_rate=0.1)
    assert found[10] == 1.0
    assert found[60] == pytest.approx(0.55)
    assert found[109] == pytest.approx(0.1, abs=1e-3)
    assert all(a >= b for a, b in pairwise(found[10:]))


def test_warm_up_stable_decay_stays_and_falls_in_a_line():
    found = rates(steps=100, warmup_steps=10, schedule="wsd", decay_steps=20, final_rate=0.0)
    assert set(found[10:81]) == {1.0}
    assert found[90] == pytest.approx(0.5)
    assert found[99] == pytest.approx(0.05)


def test_halving_falls_by_half_every_so_many_steps():
    found = rates(steps=32, warmup_steps=2, schedule="halving", decay_steps=10)
    assert [found[step] for step in (2, 11, 12, 21, 22, 31)] == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    assert rates(steps=8, schedule="halving", decay_steps=10) == [1.0] * 8


def test_a_longer_run_goes_on_from_before_the_fall():
    short = rates(steps=100, warmup_steps=10, schedule="wsd", decay_steps=20)
    longer = rates(steps=200, warmup_steps=10, schedule="wsd", decay_steps=20)
    assert short[:81] == longer[:81]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"schedule": "wsd"}, "decay_steps above 0 for schedule = wsd, found 0"),
        ({"schedule": "halving"}, "decay_steps above 0 for schedule = halving, found 0"),
        ({"schedule": "cosine", "decay_steps": 5}, "no decay_steps for schedule = cosine, found 5"),
        (
            {"schedule": "wsd", "steps": 100, "warmup_steps": 50, "decay_steps": 51},
            r"warmup_steps \+ decay_steps of at most steps = 100, found 50 \+ 51",
        ),
    ],
)
def test_a_schedule_that_does_not_fit_the_run_is_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        TrainSettings.model_validate(settings)
