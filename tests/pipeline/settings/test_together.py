"""Settings that don't go together are refused where they are read, by every verb alike."""

import os
import subprocess
import sys

import pytest

from pipeline.errors import SettingsError
from pipeline.experiment import ExperimentSettings
from pipeline.settings.load import load_settings

NVME = ["train.offload=nvme", "train.zero_stage=3"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["train.offload=cpu", "train.zero_stage=0"],
            "train: expected zero_stage 1, 2 or 3 for offload = cpu, found 0",
        ),
        (["train.offload=nvme", "train.zero_stage=2"], "train: expected zero_stage 3 for offload = nvme, found 2"),
        (NVME, "train: expected an offload_folder on a fast local disk for offload = nvme, found none"),
        ([*NVME, "train.offload_folder=x", "train.ema_decay=0.9"], "train: expected no ema_decay for offload = nvme"),
        (["train.compile=true", "train.zero_stage=3"], "zero_stage 0, 1 or 2 for compile = true, found 3"),
        (["train.micro_batch=24"], "train: expected a micro_batch that divides batch_size = 64, found 24"),
        (["train.micro_batch=4"], "settings: expected train.micro_batch in multiples of task.group = 8, found 4"),
        (["train.maps_every=5"], "settings: expected data.validation for train.maps_every, which draws its samples"),
        (["model.audio_alignment=frames"], "features.frames of 2 or more for model.audio_alignment = frames, found 1"),
        (["data.train=[]"], "data: expected at least one shard set to train on, found an empty list"),
        (["data.train=[{url: a}, {url: a}]"], "with a name each, found two that are called 'a'"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(words, message):
    with pytest.raises(SettingsError) as error:
        load_settings(None, ExperimentSettings, words)
    assert message in str(error.value)


def test_show_plan_dry_run_and_training_say_the_same_before_anything_else(tmp_path):
    config = tmp_path / "x.yaml"
    config.write_text("data: {train: /nowhere}\ntrain: {offload: cpu, zero_stage: 0}\n")
    said = []
    for words in (["config", "show"], ["plan", "--gpus", "1", "--gpu-memory", "80"], ["train", "--dry-run"], ["train"]):
        verb, more = words[: 2 if words[0] == "config" else 1], words[2 if words[0] == "config" else 1 :]
        command = [sys.executable, "-m", "jobs.cli", *verb, str(config), *more]
        done = subprocess.run(command, cwd=tmp_path, env=os.environ, capture_output=True, text=True, timeout=120)
        said.append((done.returncode, done.stderr))
    sentence = f"gavt: {config}: train: expected zero_stage 1, 2 or 3 for offload = cpu, found 0\n"
    assert said == [(2, sentence)] * 4
    assert [file.name for file in tmp_path.iterdir()] == ["x.yaml"]
