"""Runs with several objectives: stopped and gone on, at every ZeRO stage, on data that one of them can't use."""

import json
import os
import signal

import pytest
import torch

from jobs.cli import main
from pipeline.errors import RunError, SettingsError
from pipeline.experiment import ExperimentSettings
from pipeline.settings.load import load_settings
from pipeline.train.dry_run import dry_run
from pipeline.train.load import load_trained
from pipeline.train.loop import train
from pipeline.train.run_settings import RunSettings
from tiny_shards import write_shard_set


@pytest.fixture(autouse=True)
def no_wandb(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")


@pytest.fixture(scope="module")
def file(command, tmp_path_factory):
    """Settings of the tiny run with three objectives, of which one ends, one begins and one rises while it goes on."""
    content = load_settings(str(command.config), RunSettings).settings.model_dump(mode="json")
    content["task"] = {
        "kind": "several",
        "tasks": {
            "first": {"task": {"kind": "mma"}, "until_step": 5},
            "later": {"task": {"kind": "mma", "group": 4, "pairs": "both"}, "from_step": 3, "weight": 0.5},
            "rising": {"task": {"kind": "mma", "negatives": "unlike"}, "ramp_steps": 6, "weight": 2},
        },
    }
    content["train"] |= {"steps": 8, "log_every": 1, "validate_every": 4, "checkpoint_every": 100, "weight_decay": 0.1}
    path = tmp_path_factory.mktemp("several") / "several.yaml"
    path.write_text(json.dumps(content))
    return str(path)


def run_here(file, group, run, *words, stop_after=None, on_event=lambda event: None):
    def stop(record):
        if record["step"] == stop_after:
            os.kill(os.getpid(), signal.SIGTERM)

    settings = load_settings(file, ExperimentSettings, words).settings
    return train(settings, str(run), group, stop, on_event=on_event)


def records(run, names):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    both = [*names, *(f"validation/{name}" for name in names), "step", "learning_rate", "grad_norm"]
    return [{name: row[name] for name in both if name in row} for row in rows]


@pytest.fixture(scope="module")
def metrics(file):
    return [metric.name for metric in load_settings(file, RunSettings).settings.task.metrics]


@pytest.mark.parametrize("stage", [0, 2])
def test_a_curriculum_that_is_stopped_and_goes_on_equals_an_undisturbed_one(file, group, metrics, tmp_path, stage):
    words = [f"train.zero_stage={stage}"]
    run_here(file, group, tmp_path / "whole", *words)
    stopped = run_here(file, group, tmp_path / "parts", *words, stop_after=2)
    assert (stopped.step, stopped.stopped_by) == (3, "SIGTERM")  # before the second begins
    stopped = run_here(file, group, tmp_path / "parts", *words, stop_after=4)
    assert (stopped.step, stopped.stopped_by) == (5, "SIGTERM")  # before the first ends
    run_here(file, group, tmp_path / "parts", *words)
    whole = records(tmp_path / "whole", metrics)
    assert records(tmp_path / "parts", metrics) == whole
    ours, theirs = (load_trained(str(tmp_path / run), "cpu").system.state_dict() for run in ("parts", "whole"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    # what is trained in each step, and validated after it
    assert [row["first/loss"] is not None for row in whole] == [True] * 5 + [False] * 3
    assert [row["later/loss"] is not None for row in whole] == [False] * 3 + [True] * 5
    weights = [min(2 * (step + 1) / 6, 2) for step in range(8)]
    for row, weight in zip(whole, weights, strict=True):
        parts = [(row["first/loss"], 1), (row["later/loss"], 0.5), (row["rising/loss"], weight)]
        if not any(row[f"{name}/unpaired_samples"] for name in ("first", "later", "rising")):
            assert row["loss"] == pytest.approx(
                sum(part * share for part, share in parts if part is not None), rel=1e-5
            )
    assert (whole[3]["validation/first/loss"] is None, whole[7]["validation/first/loss"] is None) == (False, True)
    assert whole[3]["validation/later/accuracy"] is not None


def test_every_zero_stage_trains_several_objectives_alike(file, group, metrics, tmp_path):
    losses = []
    for stage in (0, 1, 2, 3):
        run = tmp_path / str(stage)
        run_here(file, group, run, f"train.zero_stage={stage}", "model.dropout=0", "train.micro_batch=8")
        losses.append([row["loss"] for row in records(run, metrics)])
    for one in losses[1:]:
        assert one == pytest.approx(losses[0], rel=1e-4)


def test_an_objective_that_begins_late_is_not_missed_before(file, group, tmp_path):
    """Its mismatches are looked for in the steps in which it is trained."""
    one_video = write_shard_set(tmp_path / "shards", 24, samples_per_shard=24, samples_per_video=24)
    two = "task={kind: several, tasks: {early: {task: {kind: mma}}, late: {from_step: %s, task: {kind: mma}}}}"
    words = ["data.validation=null", "train.steps=17", "train.log_every=17"]
    assert run_here(file, group, tmp_path / "late", two % 100, *words).step == 17  # 272 samples
    with pytest.raises(RunError, match="data.train: expected samples .* none among the first 256"):
        run_here(file, group, tmp_path / "run", two % 0, *words, f"data.train={one_video}")


def test_a_validation_set_in_which_one_objective_can_judge_nothing_is_refused(file, group, tmp_path):
    one_label = write_shard_set(tmp_path / "shards", 24, labels=("low",))
    with pytest.raises(SettingsError, match=r"data\.validation: expected .*task\.negatives = unlike"):
        run_here(file, group, tmp_path / "run", f"data.validation={one_label}")
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["task.group=6"], "task: expected a group that is a multiple of its tasks', 8, found 6"),
        (["task.tasks.later.until_step=3"], "tasks.later: expected an until_step above from_step = 3, found 3"),
        (["task.tasks.later.until_step=2"], "tasks.later: expected an until_step above from_step = 3, found 2"),
        (["task.tasks.later.weight=0"], "tasks.later.weight: expected greater than 0, found 0"),
        (["task.tasks.later.ramp_steps=-1"], "tasks.later.ramp_steps: expected greater than or equal to 0, found -1"),
        (["task.tasks.Later.task.kind=mma"], r"task.tasks: expected text like \^.* as a key, found 'Later'"),
        (["task.tasks.latter.weight=1"], "task.tasks.latter.task: this setting is required and was not given"),
        (["task.tasks.later.wait=1"], "task.tasks.later has no key 'wait'; did you mean 'weight'"),
        (["task.tasks.first.from_step=4", "task.tasks.rising.from_step=4"], "a task that is trained after 0 steps"),
        (
            ["task.tasks.later.until_step=7", "task.tasks.rising.until_step=6"],
            "task: expected a task that is trained after 7 steps, found none",
        ),
        (["train.batch_size=20", "train.micro_batch=20"], "multiples of task.group = 8, found 20"),
    ],
)
def test_settings_of_several_objectives_that_make_no_sense_are_said(file, words, message):
    with pytest.raises(SettingsError, match=message) as caught:
        load_settings(file, RunSettings, words)
    assert "\n" not in str(caught.value)


def test_several_objectives_are_planned_with_the_heads_of_all(capsys, file):
    with pytest.raises(SystemExit) as left:
        main(["plan", file, "--gpus", "1", "--gpu-memory", "80", "--json"])
    assert left.value.code == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["parameters"]["head"] == 3 * (2 * 16 + 2)
    assert found["group"] == 8


def test_a_dry_run_trains_all_that_have_begun(file, group):
    found = dry_run(load_settings(file, ExperimentSettings).settings, group, steps=4)
    assert found.finite
    assert len(found.losses) == 4
