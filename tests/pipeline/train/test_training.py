"""What training computes, run in this process."""

import json
import math
import shutil

import pytest
import torch

from cluster.errors import InUseError
from pipeline.errors import CheckpointError, RunError, SettingsError
from pipeline.experiment import ExperimentSettings
from pipeline.settings.load import load_settings
from pipeline.tasks.contract import TaskSettings
from pipeline.train.engine.deepspeed_settings import micro_batch_of
from pipeline.train.load import load_trained, untrained
from pipeline.train.loop import train
from pipeline.train.records.metrics_log import read_records
from pipeline.train.run.run_folder import locked, settings_before, write_config
from pipeline.train.schedule import learning_rate_at
from pipeline.train.settings import TrainSettings
from saved_weights import saved_weights
from tiny_training import TRAIN, curve


@pytest.fixture(autouse=True)
def no_wandb(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")


def run_here(command, group, run, *overrides):
    settings = load_settings(str(command.config), ExperimentSettings, overrides).settings
    return train(settings, str(run), group, lambda record: None)


def losses(run):
    return [row[1] for row in curve(run)]


@pytest.fixture(scope="module")
def reference(command, group, tmp_path_factory):
    run = tmp_path_factory.mktemp("reference") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "disabled")
        run_here(command, group, run, "model.dropout=0")
    return run


@pytest.mark.parametrize("stage", [0, 2, 3])
def test_every_zero_stage_gives_the_same_losses(command, group, reference, tmp_path, stage):
    run_here(command, group, tmp_path, "model.dropout=0", f"train.zero_stage={stage}")
    assert losses(tmp_path) == pytest.approx(losses(reference), rel=1e-4)
    weights = load_trained(str(tmp_path), "cpu").system.state_dict()
    expected = load_trained(str(reference), "cpu").system.state_dict()
    assert all(torch.allclose(weights[name], expected[name], atol=1e-4) for name in expected)


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_bf16_follows_fp32(command, group, reference, tmp_path, stage):
    run_here(command, group, tmp_path, "model.dropout=0", "train.precision=bf16", f"train.zero_stage={stage}")
    assert losses(tmp_path) == pytest.approx(losses(reference), rel=0.05)
    weights = load_trained(str(tmp_path), "cpu").system.state_dict()
    assert all(value.dtype != torch.bfloat16 for value in weights.values())
    # the master copy moves by less than bf16 can tell apart
    parameter = weights["model.encoder.layers.0.attention.out.weight"]
    assert not torch.equal(parameter, parameter.bfloat16().float())


def test_activation_checkpointing_gives_the_same_losses(command, group, reference, tmp_path):
    run_here(command, group, tmp_path, "model.dropout=0", "train.activation_checkpointing=full")
    assert losses(tmp_path) == pytest.approx(losses(reference), rel=1e-4)


def test_accumulated_micro_batches_give_the_same_losses_where_nothing_depends_on_the_batch(command, group, tmp_path):
    norms = ["model.dropout=0", "model.visual_embedder.norm=group", "model.audio_embedder.norm=group"]
    run_here(command, group, tmp_path / "one", *norms)
    run_here(command, group, tmp_path / "two", *norms, "train.micro_batch=8")
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-4)


def test_training_learns(command, group, tmp_path):
    # with dropout so small a model may wander for longer before it begins to learn
    more = ["train.steps=200", "train.learning_rate=3e-3", "task.negatives=unlike", "train.log_every=30"]
    more += ["model.dropout=0", "seed=2"]  # and longer with some seeds than with others
    run_here(command, group, tmp_path, *more, "train.checkpoint_every=200", "train.validate_every=200")
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert records[0]["accuracy"] < 0.7
    assert records[-1]["accuracy"] > 0.85


def test_fp16_works_or_is_refused_with_a_sentence(command, group, tmp_path):
    if torch.ops.mkldnn._is_mkldnn_fp16_supported() or group.device.type == "cuda":
        run_here(command, group, tmp_path, "train.precision=fp16")
        assert all(map(math.isfinite, losses(tmp_path)))
    else:
        with pytest.raises(SettingsError, match="this CPU can't compute in fp16"):
            run_here(command, group, tmp_path, "train.precision=fp16")


def test_a_run_in_fp16_goes_on_to_the_bit_with_its_loss_scale(command, group, tmp_path, monkeypatch):
    # what this CPU has no instructions for torch computes all the same, slowly
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_fp16_supported", lambda: True)
    words = ["train.precision=fp16", "train.learning_rate=1", "train.clip_norm=0", "train.log_every=1"]
    whole, gone_on = tmp_path / "whole", tmp_path / "gone-on"
    run_here(command, group, whole, *words)
    shutil.copytree(whole, gone_on)
    checkpoints = gone_on / "checkpoints"
    shutil.rmtree(checkpoints / "step-0000000012")
    (checkpoints / "latest").write_text("step-0000000008")
    run_here(command, group, gone_on, *words)
    assert curve(gone_on) == curve(whole)
    found, expected = (
        [record["loss_scale"] for record in read_records(run / "metrics.jsonl")] for run in (gone_on, whole)
    )
    assert found == expected
    assert min(found) < max(found) <= 2**16  # it was searched for
    ours, theirs = saved_weights(gone_on), saved_weights(whole)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_loss_that_is_no_number_stops_the_run_with_a_sentence(command, group, tmp_path):
    sentence = "the loss is not a number at step 6, and 5 steps in a row were bad; there is no checkpoint to go back to"
    with pytest.raises(RunError, match=sentence):
        run_here(command, group, tmp_path, "train.learning_rate=1e30", "train.clip_norm=0")


def test_a_run_folder_in_use_is_refused(command, group, tmp_path):
    with locked(tmp_path), pytest.raises(InUseError, match="another process is training"):
        run_here(command, group, tmp_path)


@pytest.mark.parametrize("place", ["file", "file/run", "n" * 300])
def test_a_place_that_can_be_no_run_folder_is_refused(command, group, tmp_path, place):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="expected a run folder that can be made and written to, found: "):
        run_here(command, group, tmp_path / place)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("run/checkpoints", r"found checkpoints \(latest\)"),
        ("run/checkpoints/step-0000000012", "found a checkpoint or an export"),
        ("train", "found a shard set"),
    ],
)
def test_what_is_something_else_is_no_run_folder(command, group, undisturbed, tmp_path, place, message):
    shutil.copytree(undisturbed, tmp_path / "run")
    shutil.copytree(command.folder / "train", tmp_path / "train")
    with pytest.raises(RunError, match=f"expected a run folder or a new one, {message}"):
        run_here(command, group, tmp_path / place)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("train.learning_rate=0.5", "this run has train.learning_rate = 0.001, the command says 0.5"),
        ("model.layers=1", "this run has model.layers = 2, the command says 1"),
    ],
)
def test_a_run_refuses_other_settings(command, group, undisturbed, word, message):
    with pytest.raises(RunError, match=message):
        run_here(command, group, undisturbed, word)


def test_a_run_whose_settings_are_gone_is_held_to_those_of_its_checkpoint(command, group, undisturbed, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(undisturbed, run)
    (run / "config.yaml").unlink()
    with pytest.raises(RunError, match=r"this run has train.learning_rate = 0.001, the command says 0.5"):
        run_here(command, group, run, "train.learning_rate=0.5")


def test_a_run_made_longer_equals_one_that_was_so_long_from_the_start(command, group, undisturbed, tmp_path):
    run_here(command, group, tmp_path, "train.steps=6")
    run_here(command, group, tmp_path)
    assert curve(tmp_path) == curve(undisturbed)


def test_a_run_may_change_its_schedule_only_where_no_step_that_is_done_would_have_been_another(tmp_path):
    def settings(**train):
        return ExperimentSettings.model_validate({"name": "longer", "train": train})

    def go_on(now, done):
        write_config(tmp_path, now, settings_before(tmp_path, tmp_path / "checkpoints", now), done)

    (tmp_path / "checkpoints").mkdir()
    go_on(settings(steps=100, schedule="wsd", decay_steps=20), 0)
    longer = settings(steps=200, schedule="wsd", decay_steps=40)
    with pytest.raises(RunError, match="of the 90 steps that are done, step 82 had the learning rate 9.5e-06, with"):
        go_on(longer, 90)
    go_on(longer, 80)
    assert settings_before(tmp_path, tmp_path / "checkpoints", longer).train.steps == 200
    with pytest.raises(RunError, match=r"80 steps are done, the command says train\.steps = 79"):
        go_on(settings(steps=79), 80)
    with pytest.raises(RunError, match="of the 80 steps that are done, step 2 had the learning rate 1e-05"):
        go_on(settings(steps=200, schedule="cosine"), 80)


def test_what_the_main_process_refuses_all_refuse_and_it_is_said_once(command, undisturbed):
    _, err = command.finish(undisturbed, "--nproc", "2", "train.learning_rate=0.5", code=2)
    assert err.count("this run has train.learning_rate") == 1
    assert len(err.splitlines()) == 1  # no traceback of the other process


def test_a_run_without_data_is_refused(command, group, tmp_path):
    with pytest.raises(SettingsError, match=r"data\.train: expected a shard set"):
        run_here(command, group, tmp_path, "data.train=null")


@pytest.mark.parametrize(
    ("settings", "world_size", "group_size", "message"),
    [
        ({"batch_size": 10}, 4, 2, "multiple of the 4 processes, found 10"),
        ({"batch_size": 16, "micro_batch": 16}, 2, 2, "train.micro_batch: expected a divisor"),
        ({"batch_size": 16}, 4, 8, "task.group: expected a divisor of the micro-batch of 4"),
    ],
)
def test_batches_that_do_not_divide_are_refused(settings, world_size, group_size, message):
    with pytest.raises(SettingsError, match=message):
        micro_batch_of(
            TrainSettings.model_validate(TRAIN | settings), world_size, TaskSettings(kind="x", group=group_size)
        )


def test_an_objective_over_the_whole_step_is_refused_with_accumulated_gradients():
    class Whole(TaskSettings):
        @property
        def whole_batch(self):
            return True

    train, task = TrainSettings.model_validate(TRAIN | {"batch_size": 16, "micro_batch": 4}), Whole(kind="x")
    with pytest.raises(SettingsError, match=r"train\.micro_batch: expected .* = 8, because the objective compares all"):
        micro_batch_of(train, 2, task)
    assert micro_batch_of(train, 4, task) == 4


def test_the_learning_rate_warms_up_and_follows_a_cosine():
    settings = TrainSettings(steps=110, learning_rate=1.0, warmup_steps=10, schedule="cosine")
    rates = [learning_rate_at(step, settings) for step in range(110)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == 1.0
    assert rates[60] == pytest.approx(0.5)
    assert rates[109] < 0.001


def test_a_loaded_model_is_the_trained_one_and_not_a_fresh_one(reference):
    trained = load_trained(str(reference), "cpu")
    assert trained.step == 12
    fresh = untrained(trained.settings, "cpu", trained.settings.seed).state_dict()
    assert not torch.equal(trained.system.state_dict()["task.head.weight"], fresh["task.head.weight"])
    by_step = load_trained(str(reference / "checkpoints" / "step-0000000008"), "cpu")
    assert by_step.step == 8


@pytest.mark.parametrize("place", ["nowhere", "empty"])
def test_a_folder_without_a_checkpoint_is_refused(tmp_path, place):
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="expected a run folder or a checkpoint"):
        load_trained(str(tmp_path / place), "cpu")
