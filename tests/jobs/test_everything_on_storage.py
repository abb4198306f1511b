"""Everything on object storage: world, shards, a run that is killed and goes on, judgement, a submitted job."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cluster import storage
from cluster.job_folder import jobs_below
from hub_server import running_hub
from tiny_training import Command

REPOSITORY = Path(__file__).parents[2]
QUICKSTART = "configs/experiments/quickstart.yaml"
TINY = [
    "train.batch_size=16",
    "train.warmup_steps=2",
    "train.log_every=1",
    "train.validate_every=4",
    "train.validation_samples=8",
    "train.checkpoint_every=2",
    "data.workers=1",
]


def start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "jobs.cli", *words],
        cwd=REPOSITORY,
        env=os.environ | {"WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def gavt(*words: str) -> str:
    """What a verb prints; it has to succeed."""
    process = start(*words)
    out, err = process.communicate(timeout=900)
    assert process.returncode == 0, err
    return out


def train(place: str, run: str, *words: str) -> tuple[str, ...]:
    shards = [f"data.train={place}/shards/train", f"data.validation={place}/shards/validation"]
    return ("train", QUICKSTART, *shards, *TINY, "train.steps=8", *words, "--run", run)


def curve(run: str) -> list[tuple[float | None, ...]]:
    lines = storage.read_text(storage.join(run, "metrics.jsonl")).splitlines()
    names = ("step", "loss", "learning_rate", "grad_norm", "validation/loss")
    return [tuple(record.get(name) for name in names) for record in map(json.loads, lines)]


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("kind", ["moto", "gcs"])
def test_a_run_whose_all_lies_on_storage_goes_on_where_it_was_killed_and_is_judged(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    place = request.getfixturevalue(f"{kind}_bucket")
    sizes = ["synth.train=24", "synth.validation=8", "synth.test=8"]
    gavt(
        "synth",
        "--config",
        QUICKSTART,
        "--out",
        f"{place}/world",
        *(word for size in sizes for word in ("--set", size)),
    )
    for split in ("train", "validation", "test"):
        listed, shards = f"{place}/world/{split}.jsonl", f"{place}/shards/{split}"
        gavt("prepare", listed, "--out", shards, "--config", QUICKSTART, "--local", "--workers", "1")
    run = f"{place}/run"
    process = start(*train(place, run))
    while "step-" not in (storage.read_text(latest) if storage.exists(latest := f"{run}/checkpoints/latest") else ""):
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    gavt(*train(place, run))
    events = [json.loads(line) for line in storage.read_text(f"{run}/events.jsonl").splitlines()]
    assert [event["event"] for event in events if event["event"] in {"start", "resume", "end"}] == [
        "start",
        "resume",
        "end",
    ]
    gavt(*train(place, str(tmp_path / "undisturbed")))
    assert curve(run) == curve(str(tmp_path / "undisturbed"))
    gavt("checkpoint", "verify", run)
    told = gavt("evaluate", run, "--data", f"{place}/shards/test", "--json")
    assert "model" in [row["name"] for table in json.loads(told.splitlines()[-1])["tables"] for row in table["rows"]]
    gavt("report", run)
    assert storage.size(f"{run}/report.html") > 10_000
    gavt("submit", *train(place, f"{place}/submitted"), "--to", "local")
    (job,) = jobs_below(f"{place}/submitted")
    deadline = time.monotonic() + 600
    while job.outcome is None and time.monotonic() < deadline:
        time.sleep(1)
    assert job.outcome is not None
    assert (job.outcome.ending, job.reached()) == ("done", 8)
    assert curve(f"{place}/submitted") == curve(run)
    assert "done" in gavt("status", f"{place}/submitted")


@pytest.mark.slow
def test_shards_and_a_list_of_the_hub_are_read_as_local_ones(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = {
        f"{split}/{path.name}": path.read_bytes()
        for split in ("train", "validation")
        for path in (command.folder / split).iterdir()
    }
    with running_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.commit("someone/videos", shards | {"list.jsonl": b'{"video": "a", "source": "videos/a.mp4"}\n'})
        place = "hf://datasets/someone/videos"
        command.finish(tmp_path / "local")
        command.finish(tmp_path / "hub", f"data.train={place}/train", f"data.validation={place}/validation")
        listed = gavt("manifest", "check", f"{place}/list.jsonl", "--json")
    assert curve(str(tmp_path / "hub")) == curve(str(tmp_path / "local"))
    assert json.loads(listed.splitlines()[-1])["rows"] == 1
