"""What of a run is said on the screen."""

import io

import pytest
from rich.console import Console

from jobs.train_line import TrainLine
from made_up_task import MadeUpSettings
from pipeline.tasks.mma_settings import MmaSettings

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


PACE = {"samples_per_s": 9.0, "data_wait": 0.0, "replaced_samples": 0.0}


def told(metrics, *records):
    """The last line of a run."""
    screen = io.StringIO()
    with TrainLine(Console(file=screen, width=400), 2, "run", metrics, shown=True) as line:
        for record in records:
            line.update(record)
    return screen.getvalue().splitlines()[-1]


def test_what_labels_help_with_is_called_label_aided_in_each_line():
    screen, task = io.StringIO(), MmaSettings(negatives="unlike")
    with TrainLine(Console(file=screen, width=400), 2, "run", task.metrics, True, task.label_aided) as line:
        for step in (1, 2):
            line.update({"step": step, "loss": 0.5, "accuracy": 0.75, **PACE})
    sentence, *steps = screen.getvalue().splitlines()[1:]
    assert sentence == task.label_aided
    assert len(steps) == 2
    assert all("label-aided · loss 0.5000 · accuracy 75" in one for one in steps)


def test_what_a_task_shows_is_told_by_its_names_in_its_units():
    metrics = MadeUpSettings().metrics
    record = {"step": 2, "nce": 1.25, "recall_at_5": 0.5, "temperature": 0.07, "reachable": 0.9, "empty_anchors": 0.0}
    expected = "step 2/2 · nce 1.2500 · recall at 5 50.0% of at most 90.0% · temperature 0.07 · 9 samples/s · waiting"
    assert told(metrics, PACE | record).startswith(expected)
    assert told(metrics, PACE | record | {"empty_anchors": 3.0}).endswith("for data 0% · 3 empty anchors")
    lopsided = record | {"recall_by_class": 0.25}
    assert "recall at 5 50.0% (recall by class 25.0%) of at most" in told(metrics, PACE | lopsided)
    assert "by class" not in told(metrics, PACE | record | {"recall_by_class": 0.46})


def test_validation_is_told_without_its_losses_where_there_is_more():
    metrics = MadeUpSettings().metrics
    record = {"step": 2, "validation/nce": 1.5, "validation/recall_at_5": 0.4, "validation/reachable": 1.0}
    assert told(metrics, record) == "step 2/2 · validation recall at 5 40.0%"
    assert told(metrics[:1], record) == "step 2/2 · validation nce 1.5000"
    last = told(metrics, record | {"step": 1}, PACE | {"step": 2, "nce": 1.25})
    assert last.startswith("step 2/2 · nce 1.2500 · validation recall at 5 40.0% · 9 samples/s")


def test_metrics_of_several_tasks_stand_behind_the_tasks_name():
    metrics = MadeUpSettings().metrics
    both = (metrics[0], *(one.of_task(task) for task in ("pull", "push") for one in metrics))
    record = {
        "step": 2,
        "nce": 1.0,
        "pull/nce": 0.5,
        "pull/recall_at_5": 0.25,
        "push/nce": 2.0,
        "push/recall_at_5": None,
    }
    expected = "step 2/2 · nce 1.0000 · pull nce 0.5000, recall at 5 25.0% · push nce 2.0000 · 9 samples/s"
    assert told(both, PACE | record).startswith(expected)


def test_a_stretch_without_a_loss_says_why():
    metrics = MadeUpSettings().metrics
    assert "· no nce · 9 samples/s" in told(metrics, PACE | {"step": 2, "nce": None})
    assert "· all steps skipped ·" in told(metrics, PACE | {"step": 2, "nce": None, "skipped_steps": 2})
    nothing = {"step": 2, "validation/nce": None, "validation/recall_at_5": None}
    assert told(metrics, nothing).endswith("validation no number")


@pytest.mark.parametrize(("event", "words"), EVENTS)
def test_what_changed_is_said_where_a_run_goes_on_and_what_is_routine_is_not(event, words):
    screen = io.StringIO()
    TrainLine(Console(file=screen, width=60), 10, "run", MmaSettings().metrics, shown=True).tell(event)
    assert screen.getvalue().endswith(words)
    assert bool(screen.getvalue()) == bool(words)


def test_only_one_process_speaks():
    screen = io.StringIO()
    TrainLine(Console(file=screen), 10, "run", MmaSettings().metrics, shown=False).tell(EVENTS[0][0])
    assert not screen.getvalue()
