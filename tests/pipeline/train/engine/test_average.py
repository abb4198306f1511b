"""The moving average of the weights, switched on and off as a run goes on."""

import json

import pytest
import torch

from many_runs import train_all
from pipeline.experiment import ExperimentSettings
from pipeline.settings.load import load_settings
from pipeline.train.checkpoints import find_checkpoint
from pipeline.train.checkpoints.model_weights import read_weights
from pipeline.train.loop import train

WORDS = ["train.checkpoint_every=1", "train.keep_last=9", "train.validate_every=100"]
STARTS = "the average of the weights starts from those of the checkpoint, which has none"
DROPPED = "the average of the weights is dropped, as train.ema_decay asks for none any more"


@pytest.fixture(autouse=True)
def no_wandb(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")


def run_here(command, group, run, *overrides):
    settings = load_settings(str(command.config), ExperimentSettings, [*WORDS, *overrides]).settings
    return train(settings, str(run), group, lambda record: None)


def events(run, name):
    found = map(json.loads, (run / "events.jsonl").read_text().splitlines())
    return [event for event in found if event["event"] == name]


def checkpoint_of(run, step):
    return find_checkpoint(str(run / "checkpoints" / f"step-{step:010d}"))


def saved(run, step, raw=True):
    return dict(read_weights(checkpoint_of(run, step), raw))


def assert_average_of(run, *steps, decay):
    """The average after the last of these steps is that of their weights."""
    expected = saved(run, steps[0])
    for step in steps[1:]:
        for name, weights in saved(run, step).items():
            buffer = "running" in name or not weights.is_floating_point()
            expected[name] = weights if buffer else expected[name].lerp(weights, 1 - decay)
    found = saved(run, steps[-1], raw=False)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.allclose(found[name], value, rtol=1e-5, atol=1e-7), name
    last = saved(run, steps[-1])
    assert any(not torch.equal(value, last[name]) for name, value in found.items())


@pytest.mark.parametrize("stage", [1, 3])
def test_an_average_that_is_switched_on_starts_from_the_weights_and_one_that_is_switched_off_goes(
    command, group, tmp_path, stage
):
    on, zero = "train.ema_decay=0.5", f"train.zero_stage={stage}"
    run_here(command, group, tmp_path, "train.steps=2", zero)
    run_here(command, group, tmp_path, "train.steps=4", zero, on)
    assert_average_of(tmp_path, 2, 3, 4, decay=0.5)
    run_here(command, group, tmp_path, "train.steps=5", zero)
    assert checkpoint_of(tmp_path, 4).has_average
    assert not checkpoint_of(tmp_path, 5).has_average
    assert [(event["step"], event["change"]) for event in events(tmp_path, "average")] == [(2, STARTS), (4, DROPPED)]
    changed = [event.get("changed") for event in events(tmp_path, "resume")]
    steps = [{"train.steps": {"from": 2, "to": 4}}, {"train.steps": {"from": 4, "to": 5}}]
    assert changed == [
        steps[0] | {"train.ema_decay": {"from": None, "to": 0.5}},
        steps[1] | {"train.ema_decay": {"from": 0.5, "to": None}},
    ]


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 2, 3])
def test_another_number_of_processes_switches_it_on_and_off_too(command, group, tmp_path, stage):
    words = [*WORDS, "model.dropout=0", *(f"model.{one}_embedder.norm=group" for one in ("visual", "audio"))]
    run_here(command, group, tmp_path, *words, "train.steps=2")
    more = [*words, f"train.zero_stage={stage}"]
    runs = [
        [tmp_path, *more, "train.steps=4", "train.ema_decay=0.5"],
        [tmp_path, *more, "train.steps=5"],
        [tmp_path, *more, "train.steps=6", "train.ema_decay=0.5"],
    ]
    train_all(command.config, runs, 2)
    assert_average_of(tmp_path, 2, 3, 4, decay=0.5)
    assert_average_of(tmp_path, 5, 6, decay=0.5)
    assert [event["change"] for event in events(tmp_path, "average")] == [STARTS, DROPPED, STARTS]
