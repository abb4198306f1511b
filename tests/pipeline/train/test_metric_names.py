"""Metrics of any task, by the names that it gives them."""

import pytest

from made_up_task import MadeUpSettings
from pipeline.errors import SettingsError
from pipeline.settings.load import load_settings
from pipeline.tasks.contract import Metric
from pipeline.train.metric_names import BestSoFar, metrics_of
from pipeline.train.run_settings import RunSettings

METRICS = MadeUpSettings().metrics


def test_of_an_unknown_task_the_numbers_that_are_not_the_trainers_are_metrics():
    records = [
        {"step": 2, "time": 0.5, "nce_loss": 0.5, "recall": 0.1, "samples_per_s": 3.0, "event/start": 1, "maps": "a"},
        {"step": 4, "pull/loss": 0.5, "validation/pull/loss": 0.5, "validation/map": None, "grad_norm": 1.0},
        {"step": 4, "validation/maps/pointing": 0.5},
    ]
    expected = (Metric("nce_loss", "loss"), Metric("recall", "number"), Metric("pull/loss", "loss"))
    assert metrics_of(None, records) == expected
    assert metrics_of(MadeUpSettings(), records) == METRICS


def test_one_of_several_tasks_keeps_its_metrics_beside_each_other():
    beside = {"ceiling": "pull/reachable", "checked_by": "pull/recall_by_class"}
    assert METRICS[1].of_task("pull") == Metric("pull/recall_at_5", chance=0.05, **beside)
    assert METRICS[0].of_task("pull") == Metric("pull/nce", "loss")


@pytest.mark.parametrize("name", ["validation", "event", "maps"])
def test_a_task_by_whose_name_a_metric_would_be_taken_for_another_is_refused_at_once(name, tmp_path):
    file = tmp_path / "settings.yaml"
    file.write_text(f"task: {{kind: several, tasks: {{{name}: {{task: {{kind: mma}}}}}}}}")
    with pytest.raises(SettingsError, match=f"names that nothing else in a record has, found {name}/loss"):
        load_settings(str(file), RunSettings)


def test_the_best_is_the_lowest_loss_and_the_highest_share_that_is_shown():
    best = BestSoFar(METRICS)
    first = {"step": 1, "nce": 0.5, "validation/nce": 0.7, "recall_at_5": 0.2, "reachable": 0.9, "temperature": 1.0}
    assert best.improve(first) == {"nce": 0.5, "validation/nce": 0.7, "recall_at_5": 0.2}
    assert best.improve({"step": 2, "nce": 0.6, "recall_at_5": 0.2, "validation/nce": None}) == {}
    assert best.improve({"step": 3, "nce": 0.4, "recall_at_5": 0.1}) == {"nce": 0.4}
    assert best.values == {"nce": 0.4, "validation/nce": 0.7, "recall_at_5": 0.2}
