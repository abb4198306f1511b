"""What a run says of settings that changed where it goes on."""

import json

import pytest

from pipeline.experiment import ExperimentSettings
from pipeline.settings.load import load_settings
from pipeline.tasks.mma_settings import MmaSettings
from pipeline.train.loop import train
from pipeline.train.run.resume_changes import forbidden_changes, micro_batch_change, told_changes
from pipeline.train.settings import TrainSettings

FREE = {
    "train.micro_batch": 8,
    "train.activation_checkpointing": "full",
    "train.compile": True,
    "train.health.hang_s": 60.0,
    "data.cache.gigabytes": 1.0,
    "data.validation": "elsewhere",
}


def read(*words):
    return load_settings(None, ExperimentSettings, words).settings


def test_each_free_setting_that_changed_is_told_and_no_other():
    before, now = read(), read(*(f"{name}={json.dumps(value)}" for name, value in FREE.items()), "evaluate.seed=3")
    assert {name: new for name, _, new in told_changes(before, now)} == FREE
    assert not list(forbidden_changes(before, now))


@pytest.mark.filterwarnings("ignore:Pydantic serializer")  # "other" is no value of theirs
def test_a_setting_is_either_told_or_forbidden():
    before = read()
    for name in TrainSettings.model_fields:
        other = before.model_copy(update={"train": before.train.model_copy(update={name: "other"})})
        found = [name for changes in (told_changes, forbidden_changes) for name, _, _ in changes(before, other)]
        assert found == [f"train.{name}"]


def norms(visual, audio="group"):
    both = {"visual": visual, "audio": audio}
    return [f"model.{name}_embedder={{kind: resnet18, norm: {norm}}}" for name, norm in both.items()]


GROUP, SYNC, PLAIN = norms("group"), norms("sync_batch"), ["model.dropout=0"]


@pytest.mark.parametrize(
    ("words", "processes", "said"),
    [
        (
            [],
            (1, 1),
            "8 samples at once on 1 process instead of 64 samples at once on 1 process: the statistics of batch",
        ),
        ([*GROUP, *PLAIN], (1, 1), None),
        (
            GROUP,
            (2, 1),
            "8 samples at once on 1 process instead of 32 samples at once on 2 processes: what dropout draws",
        ),
        ([*SYNC, *PLAIN], (2, 8), None),
        ([*SYNC, *PLAIN], (2, 4), "8 samples at once on 4 processes instead of 32 samples at once on 2 processes: the"),
    ],
)
def test_a_micro_batch_that_changes_the_losses_is_said(words, processes, said):
    change = micro_batch_change(read(*words), processes[0], read(*words, "train.micro_batch=8"), processes[1])
    assert change == said or (said and change.startswith(said))


def test_dropout_of_an_objective_changes_the_losses_as_the_models_does():
    class Dropping(MmaSettings):
        dropout: float = 0.5

    plain = read(*GROUP, *PLAIN, "train.micro_batch=16")
    dropping = plain.model_copy(update={"task": Dropping()})
    now = dropping.model_copy(update={"train": plain.train.model_copy(update={"micro_batch": 8})})
    assert micro_batch_change(plain, 1, now.model_copy(update={"task": plain.task}), 1) is None
    assert "what dropout draws" in micro_batch_change(dropping, 1, now, 1)


def test_a_run_that_goes_on_says_what_changed(command, group, tmp_path):
    told = []
    for words in (["train.steps=2"], ["train.steps=4", "train.micro_batch=8", "train.activation_checkpointing=full"]):
        settings = load_settings(str(command.config), ExperimentSettings, words).settings
        train(settings, str(tmp_path), group, lambda record: None, on_event=told.append)
    (resume,) = [event for event in told if event["event"] == "resume"]
    assert resume["changed"] == {
        "train.steps": {"from": 2, "to": 4},
        "train.micro_batch": {"from": None, "to": 8},
        "train.activation_checkpointing": {"from": "none", "to": "full"},
    }
    (change,) = [event["change"] for event in told if event["event"] == "micro_batch"]
    assert change.startswith("8 samples at once on 1 process instead of 16")
