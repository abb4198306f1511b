"""Settings that don't go together are refused where they are read, by every verb alike."""

import os
import subprocess
import sys

import pytest

from demanding_tasks import MODEL_KINDS, TASK_KINDS
from jobs import cli
from pipeline.models.registry import MODELS
from pipeline.tasks.registry import TASKS

NVME = ["train.offload=nvme", "train.zero_stage=3"]
MAPS = ["train.maps_every=5", "data.validation=x"]
SMALL = ["model.visual_embedder={kind: patch}", "model.audio_embedder={kind: patch}", "model.layers=1"]
SEVERAL = "task={kind: several, tasks: {a: {task: {kind: mma}}, b: {task: {kind: mma}%s}}%s}"


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    config = tmp_path_factory.mktemp("settings") / "x.yaml"
    config.write_text("")
    return str(config)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        # what is computed, and how it is shared out
        (["train.offload=cpu", "train.zero_stage=0"], "expected zero_stage 1, 2 or 3 for offload = cpu, found 0"),
        (["train.offload=nvme", "train.zero_stage=2"], "train: expected zero_stage 3 for offload = nvme, found 2"),
        (NVME, "train: expected an offload_folder on a fast local disk for offload = nvme, found none"),
        ([*NVME, "train.offload_folder=x", "train.optimizer=muon"], "train: expected optimizer adamw, adam or sgd for"),
        ([*NVME, "train.offload_folder=x", "train.ema_decay=0.9"], "train: expected no ema_decay for offload = nvme"),
        ([*SMALL, *NVME, "train.offload_folder=x", "task.kind=taught"], "none or cpu, as a teacher of the task can't"),
        (["train.compile=true", "train.zero_stage=3"], "zero_stage 0, 1 or 2 for compile = true, found 3"),
        (["train.schedule=wsd"], "train: expected decay_steps above 0 for schedule = wsd, found 0"),
        (["train.decay_steps=5"], "train: expected no decay_steps for schedule = constant, found 5"),
        # batches
        (["train.micro_batch=24"], "train: expected a micro_batch that divides batch_size = 64, found 24"),
        (["train.micro_batch=4"], "expected train.micro_batch in multiples of task.group = 8, found 4"),
        (["train.batch_size=12"], "expected train.batch_size in multiples of task.group = 8, found 12"),
        (["task.group=6"], "expected train.batch_size in multiples of task.group = 6, found 64"),
        # objectives, models and what they take
        (["train.maps_every=5"], "expected data.validation for train.maps_every, which draws its samples, found none"),
        ([*SMALL, *MAPS, "task.kind=mute"], "expected an objective that says whether frame and sound belong"),
        ([*MAPS, "model={kind: blind}"], "a model of frames for train.maps_every, found model.kind = blind"),
        (["model={kind: blind}"], "expected a model with the streams class, visual and audio for task.kind = mma"),
        (["task.kind=words"], "expected features.inputs.words for the model or the task, found frames, sound"),
        (["task.kind=touch"], "expected a model with the stream touch, found class, visual, audio"),
        ([SEVERAL % (", from_step: 5, until_step: 5", "")], "expected an until_step above from_step = 5, found 5"),
        ([SEVERAL % ("", ", group: 12")], "expected a group that is a multiple of its tasks', 8, found 12"),
        (["model.audio_alignment=frames"], "features.frames of 2 or more for model.audio_alignment = frames, found 1"),
        (["features.log_floor=1"], "features.log_floor: expected less than 1, found 1"),
        (["features.stft_frame=1"], "features.stft_frame: expected greater than 1, found 1"),
        (["evaluate.attention.heads=-1"], "evaluate.attention.heads: expected 'mean' or greater than or equal to 0"),
        (
            ["evaluate.attention.layer=0"],
            "evaluate.attention.layer: expected 'mean' or 'rollout' or greater than or equal to 1",
        ),
        (["features.frame_size=100"], "features.frame_size in multiples of 16 for model.visual_embedder, found 100"),
        (["features.frequency_bins=100"], "in multiples of 16 for model.audio_embedder, found 100 × 256"),
        (["features.audio_samples=60000"], "in multiples of 16 for model.audio_embedder, found 256 × 235"),
        (["model.heads=7"], "model: expected a number of heads that divides width 512, found heads = 7"),
        (["model.visual_embedder={kind: convolution, widths: [8, 12], norm: group}"], "for norm = group, found 12"),
        (["model.visual_embedder={kind: convolution, widths: [8, 0]}"], "expected greater than 0, found 0"),
        (["model.visual_embedder={kind: resnet50, norm: frozen}"], "expected weights to freeze the statistics of"),
        (["model.visual_embedder={kind: resnet50, norm: group, weights: x.pth}"], "norm = batch, sync_batch or frozen"),
        (["model.visual_embedder={kind: resnet50, weights: X}"], "or one of IMAGENET1K_V1, IMAGENET1K_V2, DEFAULT as"),
        (["model.visual_embedder={kind: vit, layers: 3, weights: X}"], "torchvision has no ViT of this size; found X"),
        # data
        (["data.temperature=2"], "data: expected mix = temperature for a temperature of 2, found epochs"),
        (["data.train=[]"], "data: expected at least one shard set to train on, found an empty list"),
        (["data.train=[{url: a}, {url: a}]"], "with a name each, found two that are called 'a'"),
        # what holds for some parameters
        ([*SMALL, "train.freeze=[model.audio_embeder.*]"], "train.freeze: expected patterns that fit a"),
        ([*SMALL, "train.freeze=['*']"], "train.freeze: expected parameters that are left to train, found ['*']"),
        ([*SMALL, "train.learning_rates={'heads.*': 2}"], "train.learning_rates: expected patterns that fit a"),
        ([*SMALL, "train.learning_rates={'*': 1, 'task.*': 2}"], "which none before them fits, found 'task.*'"),
        ([*SMALL, "train.freeze=['model.*']", "train.learning_rates={'model.*': 2}"], "which is trained and"),
        (["train.learning_rates={'*': 0}"], "expected greater than 0, found 0"),
        (["train.start_from={take: ['*']}"], "train.start_from.url: this setting is required and was not given"),
        (["train.start_from={url: a, take: []}"], "train.start_from.take: expected"),
        (["train.start_from={url: a, rename: {'a.*': b}}"], "expected as many * in 'b' as in 'a.*'"),
        ([*SMALL, "train.start_from={url: a, take: [encoder.*]}"], "train.start_from.take: expected patterns that"),
    ],
)
def test_settings_that_do_not_go_together_are_refused_as_they_are_shown(capsys, monkeypatch, empty, words, message):
    for registry, kinds in ((TASKS, TASK_KINDS), (MODELS, MODEL_KINDS)):
        for name, kind in kinds.items():
            monkeypatch.setitem(registry._kinds, name, kind)
    with pytest.raises(SystemExit) as ended:
        cli.main(["config", "show", empty, *words])
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert message in said
    assert said.startswith("gavt: ")
    assert said.count("\n") == 1


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
