"""What of a run is said on the screen."""

import io

import pytest
from rich.console import Console

from jobs.train_line import TrainLine

EVENTS = [
    (
        {"event": "resume", "step": 4, "changed": {"train.zero_stage": {"from": 1, "to": 3}}},
        "goes on after step 4; train.zero_stage 1 → 3\n",
    ),
    ({"event": "data", "step": 4, "change": "the weights are other ones"}, "the weights are other ones\n"),
    (
        {"event": "rollback", "step": 9, "checkpoint": 6, "reason": "3 bad steps"},
        "step 9: 3 bad steps; the weights of step 6 again\n",
    ),
    ({"event": "checkpoint", "step": 4}, ""),
]


@pytest.mark.parametrize(("event", "words"), EVENTS)
def test_what_changed_is_said_where_a_run_goes_on_and_what_is_routine_is_not(event, words):
    screen = io.StringIO()
    TrainLine(Console(file=screen, width=60), 10, "run", shown=True).tell(event)
    assert screen.getvalue().endswith(words)
    assert bool(screen.getvalue()) == bool(words)


def test_only_one_process_speaks():
    screen = io.StringIO()
    TrainLine(Console(file=screen), 10, "run", shown=False).tell(EVENTS[0][0])
    assert not screen.getvalue()
