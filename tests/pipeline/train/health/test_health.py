"""What a run does when steps go wrong, in this process."""

import io
import itertools
import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from rich.console import Console

from cluster.errors import UserError
from jobs.train_line import TrainLine
from pipeline.errors import RunError, ShardSetError
from pipeline.experiment import ExperimentSettings
from pipeline.settings.load import load_settings
from pipeline.tasks.mma_settings import MmaSettings
from pipeline.tasks.task import System
from pipeline.train.checkpoints import go_on_from
from pipeline.train.data import TrainingData
from pipeline.train.engine.build import build_engine
from pipeline.train.health.bad_steps import BadSteps
from pipeline.train.health.rollback import order_to_go_on_from
from pipeline.train.health.step_flags import StepSums
from pipeline.train.health.stragglers import Stragglers
from pipeline.train.load import load_trained
from pipeline.train.loop import train
from pipeline.train.micro_batches import MicroBatches
from pipeline.train.settings import HealthSettings
from tiny_training import curve


@pytest.fixture(autouse=True)
def no_wandb(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")


def run_here(command, group, run, *overrides):
    words = ["train.log_every=1", "train.validate_every=100", *overrides]
    settings = load_settings(str(command.config), ExperimentSettings, words).settings
    return train(settings, str(run), group, lambda record: None)


class Disturbed:
    """Disturbs the losses of chosen steps, as data or hardware would; counts training steps from 1."""

    def __init__(self, monkeypatch, by_step, first=1):
        self.step = first - 1
        whole = System.forward

        def forward(system, inputs, targets):
            loss, sums = whole(system, inputs, targets)
            if system.training:
                self.step += 1
                loss, sums = disturbed(by_step.get(self.step, lambda loss: loss), loss, sums)
            return loss, sums

        monkeypatch.setattr(System, "forward", forward)


def disturbed(change, loss, sums):
    """A loss that is changed, and the sums that it is a part of."""
    changed, sums = change(loss), sums.clone()
    sums[0] *= (changed / loss).detach()
    return changed, sums


def no_number(loss):
    return loss * torch.nan


def events(run, *names):
    lines = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    return [line for line in lines if line["event"] in names]


def state(run):
    return load_trained(str(run), "cpu").system.state_dict()


def test_a_bad_step_changes_nothing_but_the_position(command, group, tmp_path, monkeypatch):
    Disturbed(monkeypatch, {3: no_number})
    run_here(command, group, tmp_path, "train.checkpoint_every=2", "train.steps=3")
    before, after = (load_trained(str(tmp_path / "checkpoints" / f"step-{n:010d}"), "cpu") for n in (2, 3))
    now = after.system.state_dict()
    # batch norm's averages too, which the batch would have spoilt
    assert all(torch.equal(value, now[name]) for name, value in before.system.state_dict().items())
    (event,) = events(tmp_path, "bad_step")
    assert (event["step"], event["reason"]) == (3, "the loss is not a number")
    assert [position for position, _ in event["samples"]] == list(range(32, 48))
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["skipped_steps"] for row in rows] == [0, 0, 1]
    assert rows[2]["loss"] is None


def test_a_validation_whose_loss_is_no_number_has_no_accuracy_either(command, group, tmp_path, monkeypatch):
    whole = System.forward

    def forward(system, *words):
        loss, sums = whole(system, *words)
        return (loss, sums) if system.training else disturbed(no_number, loss, sums)

    monkeypatch.setattr(System, "forward", forward)
    last = run_here(command, group, tmp_path, "train.steps=1").last
    assert (last["validation/loss"], last["validation/accuracy"]) == (None, None)
    said = io.StringIO()
    with TrainLine(Console(file=said, width=200), 1, str(tmp_path), MmaSettings().metrics, shown=True) as line:
        line.update(last)
    assert "validation no number" in said.getvalue()


def test_bad_samples_are_said_while_a_run_goes_on(tmp_path):
    said = io.StringIO()
    record = {"step": 1, "loss": 0.5, "accuracy": 0.5, "samples_per_s": 9.0, "data_wait": 0.0, "replaced_samples": 3.0}
    with TrainLine(Console(file=said, width=200), 1, str(tmp_path), MmaSettings().metrics, shown=True) as line:
        line.update(record)
    assert "waiting for data 0% · 3 bad samples replaced" in said.getvalue()


def test_bad_steps_in_a_row_go_back_to_the_checkpoint_and_past_the_data(command, group, tmp_path, monkeypatch):
    health = "train.health.bad_steps=2"
    words = (health, "train.steps=9", "train.checkpoint_every=3")
    run, cut = tmp_path / "run", tmp_path / "cut"
    bad = {6: no_number, 7: no_number}
    with monkeypatch.context() as patch:
        Disturbed(patch, bad)
        run_here(command, group, run, *words, "train.keep_last=5")
    (rollback,) = events(run, "rollback")
    assert (rollback["step"], rollback["checkpoint"]) == (7, 3)
    steps = [row[0] for row in curve(run)]
    assert steps == list(range(1, 10))
    # nobody saves in the middle of a bad stretch
    assert not (run / "checkpoints" / "step-0000000006").exists()

    # killed right after the rollback, a run started again goes on in the same way, and to the bit
    shutil.copytree(run, cut)
    shutil.rmtree(cut / "checkpoints" / "step-0000000009")
    with monkeypatch.context() as patch:
        patched = Disturbed(patch, {})
        run_here(command, group, cut, *words)
        assert patched.step == 2  # steps 8 and 9 only
    assert curve(cut) == curve(run)
    ours, theirs = state(cut), state(run)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_what_was_saved_among_bad_steps_is_no_way_back(command, group, tmp_path, monkeypatch):
    def stopped(loss):
        os.kill(os.getpid(), signal.SIGTERM)
        return loss

    words = ("train.health.bad_steps=2", "train.steps=7", "train.checkpoint_every=3", "train.keep_last=5")
    with monkeypatch.context() as patch:
        Disturbed(patch, {4: stopped, 5: no_number})
        assert run_here(command, group, tmp_path, *words).step == 5
    with monkeypatch.context() as patch:
        Disturbed(patch, {6: no_number}, first=6)
        run_here(command, group, tmp_path, *words)
    (rollback,) = events(tmp_path, "rollback")
    assert (rollback["step"], rollback["checkpoint"]) == (6, 3)

    # killed right after the rollback, it goes on from there, and not from what is newer
    for step in (6, 7):
        shutil.rmtree(tmp_path / "checkpoints" / f"step-{step:010d}")
    checkpoint = go_on_from(tmp_path / "checkpoints", lambda one: one, group, order_to_go_on_from(tmp_path, group))
    assert (Path(checkpoint.url).name, checkpoint.step) == ("step-0000000003", 6)


def test_a_rollback_that_somebody_changed_is_refused(group, undisturbed, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(undisturbed, run)
    for content, message in (
        ("{", "expected JSON"),
        ('{"step": 3}', "expected checkpoint, step and state, found step"),
    ):
        (run / "rollback.json").write_text(content)
        with pytest.raises(UserError, match=message):
            order_to_go_on_from(run, group)


def test_a_run_that_rollbacks_do_not_help_ends_with_a_sentence(command, group, tmp_path, monkeypatch):
    Disturbed(monkeypatch, dict.fromkeys(range(4, 100), no_number))
    health = ("train.health.bad_steps=2", "train.health.rollbacks=2")
    words = (*health, "train.steps=20", "train.checkpoint_every=3", "train.zero_stage=3")
    with pytest.raises(RunError, match="more than 2 rollbacks in 10000 steps don't help"):
        run_here(command, group, tmp_path, *words)
    assert [event["step"] for event in events(tmp_path, "rollback")] == [5, 7]


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_a_spike_is_left_out_before_it_reaches_the_weights(command, group, tmp_path, monkeypatch, stage):
    Disturbed(monkeypatch, {4: lambda loss: loss * 10})
    words = (f"train.zero_stage={stage}", "train.steps=4", "train.checkpoint_every=3")
    spikes = ("train.health.spike_factor=3", "train.health.spike_window=3")
    run_here(command, group, tmp_path, *words, *spikes)
    (event,) = events(tmp_path, "bad_step")
    assert "is a spike above" in event["reason"]
    before, after = (load_trained(str(tmp_path / "checkpoints" / f"step-{n:010d}"), "cpu") for n in (3, 4))
    now = after.system.state_dict()
    assert all(torch.equal(value, now[name]) for name, value in before.system.state_dict().items())


def test_a_time_limit_saves_and_leaves_and_the_run_goes_on(command, group, tmp_path):
    result = run_here(command, group, tmp_path, "train.steps=2", "train.time_limit_s=0.001")
    assert (result.step, result.stopped_by) == (1, "time limit")
    assert events(tmp_path, "stop")[0]["reason"] == "time limit"
    assert run_here(command, group, tmp_path, "train.steps=2").step == 2


def test_data_that_ends_too_early_saves_says_why_and_the_run_goes_on(
    command, group, undisturbed, tmp_path, monkeypatch
):
    def three(data, steps, task, batches=TrainingData.batches):
        def some():
            yield from itertools.islice(batches(data, steps, task), 3)
            raise ShardSetError("shards are gone")

        return MicroBatches(some())

    with monkeypatch.context() as patch:
        patch.setattr(TrainingData, "batches", three)
        with pytest.raises(ShardSetError, match="shards are gone"):
            run_here(command, group, tmp_path, "train.log_every=2", "train.validate_every=6")
    assert [event.get("step") for event in events(tmp_path, "checkpoint")] == [3]
    assert [event["reason"] for event in events(tmp_path, "failed")] == ["shards are gone"]
    run_here(command, group, tmp_path, "train.log_every=2", "train.validate_every=6")
    assert curve(tmp_path) == curve(undisturbed)


def test_data_of_which_too_much_is_bad_ends_the_run_where_it_is_and_it_goes_on_there(
    command, group, tmp_path, monkeypatch
):
    shards, run, whole = tmp_path / "shards", tmp_path / "run", tmp_path / "whole"
    shutil.copytree(command.folder / "train", shards)
    (shards / "shard-000002.tar").unlink()
    words = (f"data.train={shards}", "train.steps=5", "train.checkpoint_every=100")
    run_here(command, group, whole, *words, "data.max_bad_rate=0.9")
    monkeypatch.setattr("pipeline.train.data._SAMPLES_BEFORE_JUDGING", 3 * 16)
    with pytest.raises(RunError, match=r"of 48 samples were bad since the start, more than data.max_bad_rate = 0\.01"):
        run_here(command, group, run, *words)
    assert [event["step"] for event in events(run, "checkpoint")] == [3]
    assert "samples were bad" in events(run, "failed")[0]["reason"]
    run_here(command, group, run, *words, "data.max_bad_rate=0.9")
    assert curve(run) == curve(whole)


def test_data_of_which_too_much_is_bad_among_bad_steps_ends_the_run_without_a_save(
    command, group, tmp_path, monkeypatch
):
    monkeypatch.setattr("pipeline.train.data._SAMPLES_BEFORE_JUDGING", 2 * 16)
    monkeypatch.setattr(
        TrainingData, "count", lambda data, samples, bad, count=TrainingData.count: count(data, samples, 1)
    )
    Disturbed(monkeypatch, {2: no_number})
    with pytest.raises(RunError, match="2 of 32 samples were bad"):
        run_here(command, group, tmp_path, "train.steps=5")
    assert not (tmp_path / "checkpoints").exists()


def test_a_signal_before_the_first_step_leaves_without_a_save(command, group, tmp_path, monkeypatch):
    def stopped(*words):
        os.kill(os.getpid(), signal.SIGUSR2)
        return build_engine(*words)

    monkeypatch.setattr("pipeline.train.training_state.build_engine", stopped)
    result = run_here(command, group, tmp_path)
    assert (result.step, result.stopped_by) == (0, "SIGUSR2")
    assert events(tmp_path, "stop", "checkpoint")[0]["step"] == 0
    assert not (tmp_path / "checkpoints").exists()


def sums(loss=0.7, applied=True):
    totals = dict.fromkeys(MmaSettings().sums, 0.0) | {"loss": loss * 10, "pairs": 10}
    return StepSums(totals, 0, True, 0, False, False, applied, (1.0,))


def test_rollbacks_count_for_as_long_as_the_settings_say():
    bad = BadSteps(HealthSettings(bad_steps=2, rollbacks=1, rollback_steps=100))
    for step, allowed in ((10, True), (120, True), (200, False)):
        assert bad.judge(sums(torch.nan, applied=False), scaling=False) == "the loss is not a number"
        assert not bad.must_go_back
        assert bad.judge(sums(applied=False), scaling=False) == "the gradient is not a number"
        assert bad.must_go_back
        if allowed:
            assert bad.go_back(step, Path("run")).startswith("the gradient is not a number at step")
        else:
            with pytest.raises(RunError, match="more than 1 rollbacks in 100 steps don't help"):
                bad.go_back(step, Path("run"))
    assert bad.judge(sums(), scaling=False) is None


def test_the_search_of_fp16s_loss_scaler_is_not_bad_but_a_loss_that_is_no_number_is():
    bad = BadSteps(HealthSettings(bad_steps=1))
    assert bad.judge(sums(applied=False), scaling=True) is None
    assert not bad.must_go_back
    assert bad.judge(sums(torch.inf, applied=False), scaling=True) is not None
    assert bad.must_go_back


def test_spikes_are_measured_by_good_steps_only():
    bad = BadSteps(HealthSettings(spike_factor=2, spike_window=3))
    for loss in (1.0, 2.0, torch.nan, 3.0):
        bad.judge(sums(loss, applied=loss == loss), scaling=False)
    assert bad.spike_above == pytest.approx(4)
    assert "spike" in str(bad.judge(sums(4.1, applied=False), scaling=False))
    assert bad.spike_above == pytest.approx(4)
    again = BadSteps(bad.settings, **json.loads(json.dumps(bad.state())))
    assert again.spike_above == bad.spike_above


def test_losses_from_before_spikes_were_not_looked_for_are_no_measure():
    bad = BadSteps(HealthSettings(spike_factor=2, spike_window=2))
    for _ in range(2):
        bad.judge(sums(1.0), scaling=False)
    assert bad.spike_above == 2.0
    off = BadSteps(HealthSettings(spike_window=2), **bad.state())
    off.judge(sums(5.0), scaling=False)
    assert BadSteps(bad.settings, **off.state()).spike_above is None


def test_a_process_that_is_slow_for_long_is_told_once():
    stragglers, told = Stragglers(1.5), []
    for _ in range(12):
        stragglers.add((1.0, 1.1, 2.0, 0.9))
        stragglers.add((1.0, 1.1, 2.0, 0.9))
        record = stragglers.record()
        told.append(stragglers.slow_for_long)
    assert record == {"slowest_rank": 2, "slowest_excess": 1.0}
    assert told == [False] * 4 + [True] + [False] * 7
    assert Stragglers(1.5).record() == {}
