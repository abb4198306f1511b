"""Runs that begin with another's weights, hold parts of them, and train parts at rates of their own."""

import json
from itertools import product

import pytest
import torch
from safetensors.torch import save_file

from many_runs import train_all
from pipeline.errors import RunError
from pipeline.experiment import ExperimentSettings
from pipeline.settings.load import load_settings
from pipeline.train.checkpoints import read_manifest
from pipeline.train.checkpoints.saved_state import SavedState
from pipeline.train.dry_run import dry_run
from pipeline.train.load import untrained
from pipeline.train.loop import train
from saved_weights import saved_weights

RATE = 1e-3
FROZEN = ("model.visual_embedder.", "model.encoder.layers.0.", "model.positions")
FREEZE = "train.freeze=[model.visual_embedder.*, 'model.encoder.layers.0.*', model.positions]"
WORDS = [f"train.learning_rate={RATE}", "train.weight_decay=0.5", "train.validate_every=1", "train.steps=2", FREEZE]


@pytest.fixture(autouse=True)
def no_wandb(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")


def read(command, *words):
    return load_settings(str(command.config), ExperimentSettings, words).settings


def run_here(command, group, run, *words):
    told = []
    train(read(command, *words), str(run), group, lambda record: None, on_event=told.append)
    return told


def weights_of(run, step):
    return saved_weights(run / "checkpoints" / f"step-{step:010d}")


def assert_frozen(run, before, step, processes):
    """What is frozen is as it began, to the bit, and has no moments; all else has moved."""
    after = weights_of(run, step)
    saved = SavedState(read_manifest(str(run / "checkpoints" / f"step-{step:010d}")))
    for name, weights in after.items():
        same = torch.equal(weights, before[name])
        assert same == name.startswith(FROZEN), name
        assert saved.has(name, "exp_avg") != (same or "running_" in name or "num_batches" in name), name


WAYS = [
    (stage, precision, offload)
    for stage, precision, offload in product((0, 1, 2, 3), ("fp32", "bf16"), ("none", "cpu"))
    if offload == "none" or (stage and precision == "bf16")
]


@pytest.mark.parametrize(("stage", "precision", "offload"), WAYS)
def test_what_is_frozen_stays_to_the_bit_and_all_else_moves(command, group, tmp_path, stage, precision, offload):
    settings = read(command, *WORDS)
    way = [f"train.zero_stage={stage}", f"train.precision={precision}", f"train.offload={offload}"]
    run_here(command, group, tmp_path, *WORDS, *way)
    assert_frozen(tmp_path, untrained(settings, "cpu", settings.seed).state_dict(), 2, 1)


def test_it_does_on_two_processes_whatever_stage_and_precision_the_run_has_and_goes_on_with(command, tmp_path):
    settings, runs = read(command, *WORDS), [(tmp_path / str(stage), stage) for stage in range(4)]
    begun = [[run, *WORDS, f"train.zero_stage={stage}", "train.precision=bf16"] for run, stage in runs]
    gone_on = [[run, *WORDS, f"train.zero_stage={3 - stage}", "train.steps=3"] for run, stage in runs]
    train_all(command.config, begun + gone_on, 2)
    before = untrained(settings, "cpu", settings.seed).state_dict()
    for run, _ in runs:
        assert_frozen(run, before, 3, 2)


@pytest.mark.parametrize(("stage", "precision"), [(0, "bf16"), (1, "fp32"), (2, "bf16"), (3, "bf16")])
def test_a_body_moves_slowly_and_a_head_of_other_classes_begins_anew(command, group, tmp_path, stage, precision):
    source = untrained(read(command), "cpu", 7).state_dict()
    other = source | {"task.head.weight": torch.zeros(5, 16), "task.head.bias": torch.zeros(5)}
    save_file({f"net.{name}": weights for name, weights in other.items()}, tmp_path / "body.safetensors")
    words = [
        f"train.start_from={{url: {tmp_path}/body.safetensors, rename: {{'net.*': '*'}}}}",
        "train.learning_rates={'model.audio_embedder.*': 0.5, 'model.*': 0.01}",
        *(f"train.learning_rate={RATE}", "train.weight_decay=0", "train.steps=1"),
        *(f"train.zero_stage={stage}", f"train.precision={precision}"),
    ]
    told = run_here(command, group, tmp_path / "run", *words)
    after, new = weights_of(tmp_path / "run", 1), untrained(read(command), "cpu", 0)
    for name, drawn in new.named_parameters():
        begun = drawn.detach() if name.startswith("task.") else source[name]
        factor = 0.5 if "audio_embedder" in name else 0.01 if name.startswith("model.") else 1
        # Adam's first step is the learning rate where there is a gradient worth the name
        assert float((after[name] - begun).abs().max()) == pytest.approx(RATE * factor, rel=0.05), name
    (said,) = [event["said"] for event in told if event["event"] == "start_from"]
    assert "new: task.head.weight [2, 16] (there [5, 16]), task.head.bias [2] (there [5])" in said
    assert f"{len(source) - 2} of {len(source)} states taken" in said
    table = json.loads((tmp_path / "run" / "start_from.json").read_text())
    head = {"task.head.weight", "task.head.bias"}
    assert [{row["name"] for row in table[kind]} for kind in ("new", "left")] == [head, head]
    assert {row["renamed"] for row in table["taken"]} == {f"net.{name}" for name in source.keys() - head}


def test_a_run_that_goes_on_has_its_own_weights_and_no_other_start_or_rates(command, group, tmp_path):
    save_file(untrained(read(command), "cpu", 7).state_dict(), tmp_path / "body.safetensors")
    rates = "train.learning_rates={'task.*': 2, '*.weight': 0.5}"
    words = [f"train.start_from={tmp_path}/body.safetensors", rates, FREEZE]
    run_here(command, group, tmp_path / "run", *words, "train.steps=1")
    (tmp_path / "body.safetensors").unlink()
    told = run_here(command, group, tmp_path / "run", *words, "train.steps=2")
    assert not [event for event in told if event["event"] == "start_from"]
    for other in ("start_from=elsewhere", "freeze=[model.positions]", "learning_rates={'*.weight': 0.5, 'task.*': 2}"):
        with pytest.raises(RunError, match=f"this run has train.{other.partition('=')[0]}"):
            run_here(command, group, tmp_path / "run", *words, "train.steps=2", f"train.{other}")


def test_a_dry_run_says_what_a_run_would_start_from(command, group, tmp_path):
    save_file(untrained(read(command), "cpu", 7).state_dict(), tmp_path / "body.safetensors")
    found = dry_run(read(command, f"train.start_from={tmp_path}/body.safetensors"), group)
    assert found.started_from.startswith(f"starts from {tmp_path}/body.safetensors: 72 of 72 states taken")
    assert dry_run(read(command), group).started_from is None
