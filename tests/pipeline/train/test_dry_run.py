"""`gavt train --dry-run` and `--profile`."""

import gzip
import json
import math
import os
import signal
from functools import partial

import pytest
import torch
from torch.autograd import DeviceType
from torch.autograd.profiler_util import FunctionEvent, FunctionEventAvg

from cluster.launch import Failure
from jobs.cli import main
from pipeline.errors import SettingsError
from pipeline.experiment import ExperimentSettings
from pipeline.settings.load import load_settings
from pipeline.stream.arrays import noise_of
from pipeline.tasks.mma import MultiModalAlignment
from pipeline.train.dry_run import dry_run
from pipeline.train.engine.ema import Ema
from pipeline.train.loop import train
from pipeline.train.profile import ProfileRequest, StepProfiler, costs
from pipeline.train.profile_steps import profile_steps


def read(command, *overrides):
    return load_settings(str(command.config), ExperimentSettings, overrides).settings


@pytest.mark.parametrize("words", [["train.zero_stage=0"], ["train.zero_stage=3", "train.micro_batch=8"]])
def test_a_dry_run_needs_no_data_and_trains(command, group, words):
    found = dry_run(read(command, "data.train=null", *words), group)
    assert found.finite
    assert all(map(math.isfinite, found.losses))
    assert found.parameters > 10_000
    assert (found.micro_batch, found.accumulated) in {(16, 1), (8, 2)}
    assert found.memory_gib > 0
    assert found.samples_per_s is None


def test_a_longer_dry_run_measures_the_pace_of_training_and_not_the_making_of_noise(command, group, monkeypatch):
    made = []
    monkeypatch.setattr("pipeline.train.dry_run.noise_of", lambda *words: made.append(1) or noise_of(*words))
    found = dry_run(read(command, "data.train=null"), group, steps=4)
    assert len(made) == 1
    assert len(found.losses) == len(found.seconds) == 4
    assert found.samples_per_s == pytest.approx(16 / ((found.seconds[2] + found.seconds[3]) / 2))
    assert found.mfu is None or group.device.type == "cuda"  # no data sheet tells a CPU's peak


def test_a_dry_run_keeps_the_moving_average_that_training_would(command, group, monkeypatch):
    updates = []
    monkeypatch.setattr(Ema, "update", lambda ema, engine: updates.append(len(ema.average)))
    dry_run(read(command, "data.train=null", "train.ema_decay=0.9"), group)
    assert len(updates) == 2
    assert all(updates)


def test_a_dry_run_tells_losses_that_are_no_numbers(command, group):
    found = dry_run(read(command, "train.learning_rate=1e30", "train.clip_norm=0"), group)
    assert not found.finite


@pytest.mark.parametrize("backward", [False, True])
def test_an_operation_that_cant_repeat_names_the_setting(command, group, monkeypatch, backward):
    forward = MultiModalAlignment.forward

    def with_put(*given):
        loss, sums = forward(*given)
        change = partial(torch.Tensor.put_, torch.zeros(4), torch.tensor([1]), torch.ones(1))
        if backward:
            loss.register_hook(lambda gradient: gradient + change().sum())
        else:
            change()
        return loss, sums

    monkeypatch.setattr(MultiModalAlignment, "forward", with_put)
    with pytest.raises(SettingsError, match=r"train\.deterministic: expected .* found put_, .*deterministic=false"):
        dry_run(read(command), group)
    assert dry_run(read(command, "train.deterministic=false"), group).finite


def test_the_verb_leaves_nothing_behind(command, group, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        main(["train", str(command.config), "--dry-run", "--json"])
    assert left.value.code == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["finite"] is True
    assert os.listdir(tmp_path) == []


def test_a_dry_run_of_several_processes_that_crash_leaves_nothing_in_the_run(command, tmp_path, monkeypatch, capsys):
    def crash(words, processes, restarts=0, reached=None, on_crash=None):
        on_crash(Failure(1, -signal.SIGKILL), None)
        return 137

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cluster.launch.launch_local", crash)
    with pytest.raises(SystemExit) as left:
        main(["train", str(command.config), "--dry-run", "--nproc", "2"])
    assert left.value.code == 137
    assert "rank 1 was killed by SIGKILL; giving up" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


def test_a_few_steps_are_profiled_and_training_goes_on(command, group, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    said = []
    result = train(read(command), str(tmp_path / "run"), group, lambda record: None, ProfileRequest(3, 4, said.append))
    assert result.step == 12
    with gzip.open(tmp_path / "run" / "profile" / "trace.json.gz", "rt") as trace:
        events = json.load(trace)["traceEvents"]
    names = [event["name"] for event in events if event.get("ph") == "X"]
    assert "aten::convolution" in names
    table = (tmp_path / "run" / "profile" / "table.txt").read_text()
    assert said == [table]
    assert table.startswith("steps 3 to 4, ")
    assert len(table.splitlines()) == 11


def test_steps_that_were_not_done_are_said_not_to_be_recorded(group, tmp_path):
    for first, done in ((3, range(10, 12)), (13, range(0, 12))):  # before those of this start, and after the last
        said = []
        profiler = StepProfiler(tmp_path, group, ProfileRequest(first, first + 1, said.append), 12)
        for step in [*done, 12]:
            profiler.before(step)
        assert said == [f"steps {first} to {first + 1} were not done here: nothing was recorded\n"]


@pytest.mark.parametrize("words", ["", "3", "0:2", "4:3", "a:b", "1:2:3"])
def test_steps_that_are_none_are_refused(words):
    with pytest.raises(SettingsError, match="--profile-steps: expected two steps"):
        profile_steps(words)


def test_a_profile_of_a_gpu_counts_its_kernels_once():
    """Rows as torch's profiler makes them: an operation has the time of its kernel too, and so has an annotation."""
    rows = [
        profiled("aten::mm", "CPU", device_us=4000, cpu_us=100),
        profiled("gemm", "CUDA", device_us=4000),
        profiled("optimizer", "CUDA", device_us=7000, annotates=True),
        profiled("adam", "CUDA", device_us=3000),
    ]
    assert costs(rows, on_gpu=True) == [("gemm", 1, 4.0), ("adam", 1, 3.0)]
    assert costs(rows[:1], on_gpu=False) == [("aten::mm", 1, 0.1)]


def profiled(name, device, device_us, cpu_us=0, annotates=False):
    event = FunctionEvent(0, name, 0, 0, cpu_us, device_type=getattr(DeviceType, device), is_user_annotation=annotates)
    row = FunctionEventAvg()
    row.add(event)
    row.self_device_time_total = device_us
    return row
