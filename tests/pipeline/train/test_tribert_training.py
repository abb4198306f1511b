"""TriBERT through the command: planned, trained, killed and gone on with, exported and judged."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from barcode_video import write_video
from jobs.cli import main
from pipeline.api.model import load
from saved_weights import saved_weights
from tiny_shards import FEATURES, write_shard_set

MODEL = {
    "kind": "tribert",
    "visual_embedder": {"kind": "convolution", "widths": [8, 16, 16]},
    "classes": 2,
    "graph_widths": [4, 8],
    "sound_widths": [4, 8],
    "visual_width": 16,
    "pose_width": 16,
    "audio_width": 8,
    "shared_width": 16,
    "feed_forward": 16,
    "blocks": 2,
    "heads": 2,
}
TASK = {"kind": "classification", "classes": ["low", "high"], "streams": ["visual", "pose", "audio"], "maps_weight": 1}
PERSON = [[0.01 * point, 0.5, 0.5] for point in range(68)]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tribert")
    known = {"keypoints": [[PERSON, None]]}
    data = {
        "train": str(write_shard_set(folder / "train", 32, known=known)),
        "validation": str(write_shard_set(folder / "validation", 16, seed=1, known=known)),
        "workers": 0,
    }
    settings = {
        "name": "tribert",
        "data": data,
        "features": FEATURES | {"inputs": {"keypoints": {"kind": "keypoints"}}},
        "model": MODEL,
        "task": TASK,
        "train": {
            "steps": 6,
            "batch_size": 16,
            "micro_batch": 8,
            "learning_rate": 3e-3,
            "log_every": 1,
            "checkpoint_every": 2,
            "validate_every": 6,
            "keep_last": 3,
        },
    }
    path = folder / "tribert.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


@pytest.fixture(scope="module")
def run(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    said("train", config, "--run", folder)
    return folder


def start(*words):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled"}
    command = [sys.executable, "-m", "jobs.cli", *map(str, words)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def said(*words):
    process = start(*words)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out


def losses(run):
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_it_is_planned_by_its_parts(config):
    plan = json.loads(said("plan", config, "--gpus", "2", "--gpu", "h100", "--json").splitlines()[-1])
    assert {"visual", "pose", "audio", "norms", "blocks", "head"} <= plan["parameters"].keys()
    assert all(plan["flops"]["parts"][part] > 0 for part in ("visual", "pose", "audio", "blocks"))


def test_killed_with_sigkill_and_gone_on_with_recomputed_it_ends_as_if_nothing_had_been(config, run, tmp_path):
    killed, recomputed = tmp_path / "run", "train.activation_checkpointing=full"
    process = start("train", config, "--run", killed, recomputed)
    deadline = time.monotonic() + 120
    while not (killed / "checkpoints" / "step-0000000002").exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    said("train", config, "--run", killed, recomputed)
    assert losses(killed) == losses(run)
    ours, theirs = saved_weights(killed), saved_weights(run)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.slow
def test_two_processes_at_zero_2_give_the_losses_of_one(config, tmp_path):
    words = ("model.dropout=0", "model.segmentation_dropout=0", "train.steps=3", "train.validate_every=3")
    said("train", config, "--run", tmp_path / "one", *words)
    said("train", config, "--run", tmp_path / "two", "--nproc", 2, "train.zero_stage=2", *words)
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-4)


def test_its_export_has_its_weights_and_is_judged(config, run, tmp_path):
    export = tmp_path / "export"
    said("checkpoint", "export", run, "--out", export)
    ours, theirs = load_file(export / "model.safetensors"), dict(saved_weights(run))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    validation = yaml.safe_load(config.read_text())["data"]["validation"]
    words = ("evaluate", export, "--data", validation, "--out", tmp_path / "out", "--json")
    tables = json.loads(said(*words).splitlines()[-1])["tables"]
    assert {"classification", "localisation"} <= {table["measure"] for table in tables}


def video_with_keypoints(folder):
    """Two seconds, and the JSON of a person that moves in them."""
    persons = [{"image_id": f"{n}.jpg", "keypoints": [9.0 * n % 200, 80.0, 0.9] * 26, "score": 1} for n in range(50)]
    (folder / "v.json").write_text(json.dumps(persons))
    return write_video(folder / "v.mp4", 2), folder / "v.json"


def test_it_says_where_the_sound_of_a_video_comes_from_with_the_keypoints_beside_it(run, tmp_path, capsys):
    video, pose = video_with_keypoints(tmp_path)
    words = ["localize", str(video), "--checkpoint", str(run), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match="0"):
        main([*words, "--keypoints", str(pose), "--json"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["readout"] == "class_maps"
    maps = np.load(found["maps"])["maps"]
    assert maps.shape == (4, 8, 8)
    assert maps.std() > 0
    for without in (words, ["demo", str(run)]):  # nothing can lie beside what is dropped on a page
        with pytest.raises(SystemExit, match="2"):
            main(without)
        sentence = " ".join(capsys.readouterr().err.split())
        assert "expected keypoints of the video (--keypoints), because the model takes keypoints" in sentence
    model, every_s = load(run), 1.0
    with_pose = [model.localize(video, every_s, keypoints=place).maps for place in (pose, tmp_path / "v")]
    assert np.allclose(with_pose[0], with_pose[1])
    assert np.allclose(with_pose[0], maps[::2], atol=1e-5)


def test_its_own_objective_goes_on_from_its_weights_with_other_classes(config, run, tmp_path):
    task = {"kind": "separate_and_classify", "group": 4, "widths": [4, 8, 12], "unknown": "leave_out"}
    words = [
        f"task={json.dumps(task | {'classes': ['low', 'high', 'neither']})}",
        "train.steps=2",
        "train.learning_rate=1e-7",
    ]
    words += ["train.checkpoint_every=2", "train.validate_every=2"]
    first, second = tmp_path / "first", tmp_path / "second"
    said("train", config, "--run", first, f"train.start_from={run}", *words)
    words[0] = f"task={json.dumps(task | {'classes': ['low', 'high']})}"
    said("train", config, "--run", second, f"train.start_from={first}", *words)
    started = json.loads((second / "start_from.json").read_text())
    new = {state["name"] for state in started["new"]}
    assert all(name.startswith("task.classes.") for name in new)
    assert {f"task.classes.{stream}.decode.weight" for stream in ("visual", "pose", "audio")} <= new
    video, pose = video_with_keypoints(tmp_path)
    sounds = load(second).separate(video, keypoints=pose).sounds
    assert list(sounds) == ["in_sight", "rest"]
    assert np.abs(sounds["in_sight"]).max() > 0
    before, after = saved_weights(first), saved_weights(second)
    taken = next(name for name in before if name.startswith("model.blocks") and name.endswith("weight"))
    torch.testing.assert_close(after[taken], before[taken], atol=1e-6, rtol=0)
