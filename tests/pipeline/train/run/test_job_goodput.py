"""Goodput of jobs: what their attempts cost, and nothing of the queue."""

from datetime import datetime, timezone
from typing import Any

import pytest

from cluster.job_records import Attempt
from pipeline.train.run.job_goodput import goodput_of


def attempt(number: int, began: float, ended: float | None) -> Attempt:
    texts = [None if at is None else datetime.fromtimestamp(at, timezone.utc).isoformat() for at in (began, ended)]
    return Attempt(number=number, id="1", nodes=("a",), began=str(texts[0]), reached_before=0, ended=texts[1])


def event(time: float, name: str, **details: Any) -> dict[str, Any]:
    return {"time": time, "event": name, **details}


EVENTS = [
    event(1010, "start"),
    event(1061, "checkpoint", seconds=1, training_s=41, validation_s=4, data_s=2, saving_s=1, first_steps_s=1),
    event(1062, "stop"),
    # an hour in the queue
    event(5008, "resume"),
    event(5040, "checkpoint", seconds=2, training_s=67, validation_s=8, data_s=2, saving_s=1, first_steps_s=2),
    event(5050, "checkpoint", seconds=0, training_s=77, validation_s=8, data_s=2, saving_s=1, first_steps_s=2),
    event(5058, "bad_step"),  # the last word of one that was killed with its launcher
    event(6010, "resume"),
    event(6031, "checkpoint", seconds=1, training_s=97, validation_s=8, data_s=2, saving_s=2, first_steps_s=3),
]


def test_it_is_training_and_validation_over_the_time_of_the_attempts() -> None:
    """10 s to start and 4 s to leave; 8 s to start and 8 s done twice; 10 s to start; 1 s in each first step."""
    found = goodput_of([attempt(1, 1000, 1064), attempt(2, 5000, None), attempt(3, 6000, None)], EVENTS)
    assert found is not None
    assert (found.total_s, found.spent.useful_s, found.attempts) == (64 + 58 + 30, 105, 3)
    assert (found.starting_s, found.ending_s, found.rest_s) == (31, 12, 0)
    assert found.between_s == (5000 - 1064) + (6000 - 5058)
    assert found.goodput == pytest.approx(105 / 152)
    assert sum(found.shares().values()) == pytest.approx(1)
    assert list(found.shares().items())[:2] == [("training", 97 / 152), ("validation", 8 / 152)]
    assert found.for_programs()["goodput"] == round(105 / 152, 4)
    assert found.with_attempts_of(3600) == pytest.approx(105 / 109 * (1 - 43 / 3 / 3600))


def test_an_attempt_that_never_began_a_step_is_all_lost() -> None:
    found = goodput_of([attempt(1, 1000, 1064), attempt(2, 2000, 2020)], EVENTS[:3])
    assert found is not None
    assert (found.total_s, found.starting_s, found.ending_s) == (84, 31, 4)


@pytest.mark.parametrize("began", [1005, 2000])
def test_of_steps_that_no_job_has_done_nothing_is_said(began: float) -> None:
    begun_by_hand = [event(1000, "start"), *EVENTS[1:]]
    assert goodput_of([attempt(1, began, began + 100)], begun_by_hand) is None
    assert goodput_of([attempt(1, began, began + 100)], []) is None
    assert goodput_of([], EVENTS) is None
