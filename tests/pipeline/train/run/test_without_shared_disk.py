"""A run of machines that share nothing but object storage: no file system, no temporary folder, no home."""

import os
import signal
import subprocess
import sys
import time

import pytest

from cluster import storage
from cluster.free_port import free_port
from pipeline.experiment import ExperimentSettings
from pipeline.settings.load import load_settings
from pipeline.train.loop import train
from pipeline.train.records.metrics_log import read_records
from pipeline.train.run.remote_run import fetch_run
from saved_weights import saved_weights
from tiny_training import curve

# what dropout draws and the statistics of one process's samples would depend on the number of processes
EXACT = ["model.dropout=0", "model.visual_embedder.norm=group", "model.audio_embedder.norm=group", "task.group=4"]


class Machines:
    """Machines with a process each; each has a file system of its own, as far as a test can tell."""

    def __init__(self, folder, config, words):
        self.folder, self.config, self.words = folder, config, words

    def start(self, count, *words):
        """The processes of a job."""
        port = free_port()
        job = {"WORLD_SIZE": count, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1"}
        return [self._process(job | {"MASTER_PORT": port, "RANK": rank}, rank, words) for rank in range(count)]

    def _process(self, job, rank, words):
        own = self.folder / f"machine-{rank}"
        places = {name: own / name.lower() for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "GAVT_CACHE")}
        for place in (*places.values(), own / "work"):
            place.mkdir(parents=True, exist_ok=True)
        config = own / "work" / "config.yaml"
        config.write_text(self.config.read_text())
        told = {name: str(value) for name, value in (job | places).items()}
        environment = os.environ | told | {"OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
        environment["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, [*sys.path[:1], os.getcwd()]))
        return subprocess.Popen(
            [sys.executable, "-m", "jobs.cli", "train", str(config), *self.words, *words],
            cwd=own / "work",
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=(own / "stderr").open("w"),
            start_new_session=True,
        )

    def said(self):
        """What the processes of the last job have complained of."""
        return "\n".join(file.read_text() for file in sorted(self.folder.glob("*/stderr")))


def newest_step(run):
    latest = f"{run}/checkpoints/latest"
    return int(storage.read_text(latest).removeprefix("step-")) if storage.exists(latest) else 0


def end(processes, timeout=120):
    return [process.wait(timeout) for process in processes]


def kill(processes):
    for process in processes:
        process.send_signal(signal.SIGKILL)
    end(processes)


def test_a_run_on_s3_goes_on_with_other_machines_that_share_no_disk(command, group, s3_bucket, tmp_path, monkeypatch):
    run, shards = f"{s3_bucket}/runs/apart", f"{s3_bucket}/shards"
    for split in ("train", "validation"):
        for file in (command.folder / split).iterdir():
            storage.upload(file, f"{shards}/{split}/{file.name}")
    words = [*EXACT, "train.zero_stage=2", "train.ema_decay=0.9", "train.steps=30", "train.checkpoint_every=6"]
    places = [f"data.train={shards}/train", f"data.validation={shards}/validation", "--run", run]
    machines = Machines(tmp_path, command.config, [*words, *places])

    def await_checkpoint(step, processes):
        deadline = time.monotonic() + 120
        while newest_step(run) < step:
            assert all(process.poll() is None for process in processes), machines.said()
            assert time.monotonic() < deadline
            time.sleep(0.02)

    both = machines.start(2)
    await_checkpoint(6, both)
    kill([both[1]])
    kill([both[0]])
    alone = machines.start(1)
    await_checkpoint(18, alone)
    kill(alone)
    assert end(machines.start(2)) == [0, 0], machines.said()

    fetch_run(run, tmp_path / "fetched")
    events = read_records(tmp_path / "fetched" / "events.jsonl")
    assert [event["event"] for event in events if event["event"] in ("start", "resume", "end")] == [
        "start",
        "resume",
        "resume",
        "end",
    ]
    monkeypatch.setenv("WANDB_MODE", "disabled")
    settings = load_settings(str(command.config), ExperimentSettings, words).settings
    train(settings, str(tmp_path / "whole"), group, lambda record: None)
    ours, theirs = (curve(tmp_path / name) for name in ("fetched", "whole"))
    assert [row[0] for row in ours] == [row[0] for row in theirs]
    for mine, whole in zip(ours, theirs, strict=True):  # but for the order in which numbers are added up
        assert [one for one in mine if one is not None] == pytest.approx(
            [one for one in whole if one is not None], rel=1e-3, abs=1e-5
        )
    for average in (False, True):
        found, expected = saved_weights(run, average), saved_weights(tmp_path / "whole", average)
        for name, weights in expected.items():
            assert found[name].float() == pytest.approx(weights.float(), abs=1e-3), name
    names = {storage.name_below(run, file) for file in storage.list_files(run)}
    assert {f"logs/rank-{rank:05d}.log" for rank in range(2)} <= names
    assert any(name.startswith("wandb/offline-run") for name in names)
    left = [path for path in tmp_path.glob("machine-*/tmpdir/*") if path.name.startswith("gavt-run")]
    assert not left
