import contextlib
import fcntl
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import termios
import time

import pytest
import torch

from cluster import storage
from cluster.exit_codes import RESTART
from pipeline.errors import RunError
from pipeline.experiment import ExperimentSettings
from pipeline.settings.load import load_settings
from pipeline.train.loop import train
from pipeline.train.records.metrics_log import EventLog, read_records
from pipeline.train.records.wandb_file import read_history
from pipeline.train.run.remote_logs import local_folder, note_crash
from pipeline.train.run.remote_run import fetch_run, run_place
from saved_weights import saved_weights
from tiny_training import curve


def weights(run):
    return saved_weights(run)


def wait_for(condition, process, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def assert_same_run(run, undisturbed):
    assert curve(run) == curve(undisturbed)
    assert_same_weights(run, undisturbed)


def assert_same_weights(run, undisturbed):
    ours, theirs = weights(run), weights(undisturbed)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_run_killed_with_sigkill_and_started_again_equals_an_undisturbed_one(command, undisturbed, tmp_path):
    run = tmp_path / "run"
    # killed after a checkpoint, and again while a later one is being written
    for step in (4, 8):
        process = command.start(run, wandb="offline")
        wait_for((run / "checkpoints" / f"step-{step:010d}").exists, process)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    command.finish(run, wandb="offline")
    assert_same_run(run, undisturbed)
    events = [json.loads(line)["event"] for line in (run / "events.jsonl").read_text().splitlines()]
    assert events[0] == "start"
    assert events.count("resume") >= 1
    assert events[-1] == "end"
    # wandb: one id, no gap, nothing twice
    files = sorted((run / "wandb").glob("offline-run-*/*.wandb"))
    assert len({file.name for file in files}) == 1
    steps = [record["step"] for file in files for record in read_history(file)]
    assert steps == [step for step, *_ in curve(undisturbed)]


def test_sigterm_saves_a_checkpoint_and_the_run_goes_on_exactly(command, undisturbed, tmp_path):
    run = tmp_path / "run"
    process = command.start(run)
    wait_for(lambda: (run / "metrics.jsonl").exists() and (run / "metrics.jsonl").stat().st_size > 0, process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == RESTART
    assert "the same command goes on from there" in err
    command.finish(run)
    assert_same_run(run, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("words", [[], ["--nproc", "2"]])
def test_a_run_whose_terminal_is_gone_saves_a_checkpoint_and_leaves_for_a_restart(command, tmp_path, words):
    run = tmp_path / "run"
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "jobs.cli", "train", str(command.config), "--run", str(run), "train.steps=5000", *words],
        env=os.environ | {"OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    os.set_blocking(ours, False)

    def has_recorded():
        with contextlib.suppress(BlockingIOError):  # read, else it waits for a reader
            os.read(ours, 65536)
        return (run / "metrics.jsonl").exists() and (run / "metrics.jsonl").stat().st_size > 0

    wait_for(has_recorded, process)
    os.close(ours)
    assert process.wait(120) == RESTART
    stop = read_records(run / "events.jsonl")[-1]
    assert (stop["event"], stop["reason"]) == ("stop", "SIGHUP")
    assert (run / f"checkpoints/step-{stop['step']:010d}/manifest.json").exists()


def test_torn_and_damaged_checkpoints_are_never_resumed_from(command, group, undisturbed, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    settings = load_settings(str(command.config), ExperimentSettings).settings
    run = tmp_path / "run"
    shutil.copytree(undisturbed, run)
    last, before = (run / "checkpoints" / f"step-{step:010d}" for step in (12, 8))
    (last / "manifest.json").unlink()  # a save that never finished
    train(settings, str(run), group, lambda record: None)
    assert_same_run(run, undisturbed)
    with (last / "rank-00000.safetensors").open("r+b") as file:  # a bit that fell over
        file.seek(200)
        file.write(b"\xff")
    train(settings, str(run), group, lambda record: None)
    assert_same_run(run, undisturbed)
    for folder in (last, before):
        (folder / "rank-00000.safetensors").unlink()
    _, err = command.finish(run, code=2)  # a month of training is not thrown away without a word
    assert "rank-00000.safetensors: missing from its checkpoint; there is no older one to go on from" in err


def test_only_the_newest_checkpoints_are_kept(undisturbed):
    names = sorted(folder.name for folder in (undisturbed / "checkpoints").glob("step-*"))
    assert names == ["step-0000000008", "step-0000000012"]


def test_a_finished_run_started_again_changes_nothing(command, undisturbed, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(undisturbed, run)
    out, _ = command.finish(run)
    assert f"{run}: all 12 steps are done" in out
    assert_same_run(run, undisturbed)


def test_two_processes_go_on_exactly_and_one_goes_on_where_two_were_killed(command, tmp_path):
    whole, cut, alone = tmp_path / "whole", tmp_path / "cut", tmp_path / "alone"
    # what dropout draws and the statistics of one process's samples would depend on the number of processes
    words = [
        "train.zero_stage=2",
        "model.dropout=0",
        "model.visual_embedder.norm=sync_batch",
        "model.audio_embedder.norm=group",
    ]
    command.finish(whole, "--nproc", "2", *words)
    process = command.start(cut, "--nproc", "2", *words)
    wait_for((cut / "checkpoints" / "latest").exists, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    shutil.copytree(cut, alone)
    command.finish(cut, "--nproc", "2", *words)
    assert_same_run(cut, whole)
    command.finish(alone, *words, "train.zero_stage=3")
    resume = [json.loads(line) for line in (alone / "events.jsonl").read_text().splitlines()]
    (changed,) = [event["changed"] for event in resume if event["event"] == "resume"]
    assert changed == {"world_size": {"from": 2, "to": 1}, "train.zero_stage": {"from": 2, "to": 3}}
    losses = [[row[1] for row in curve(run)] for run in (alone, whole)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_failing_rank_ends_the_job_with_its_exit_code(command, tmp_path):
    _, err = command.finish(tmp_path / "run", "--nproc", "2", "data.train=/nowhere", code=2)
    assert "/nowhere: expected a folder of shards" in err


def test_a_crash_before_a_run_was_fetched_leaves_what_is_published(s3_bucket):
    run = f"{s3_bucket}/runs/crashes"
    folder = local_folder(run)
    folder.mkdir(parents=True)
    try:
        EventLog(folder / "events.jsonl").write("start", step=0)
        note_crash(run, rank=0)  # what its processes wrote is saved
        note_crash(run, rank=1)  # they have not come so far as to fetch the first one's event
    finally:
        shutil.rmtree(folder)
    events = [json.loads(line) for line in storage.read_text(f"{run}/events.jsonl").splitlines()]
    assert [(event["event"], event.get("rank")) for event in events] == [
        ("start", None),
        ("rank_failed", 0),
        ("rank_failed", 1),
    ]


def test_a_run_on_s3_that_ends_with_an_error_says_it_there(group, s3_bucket):
    run = f"{s3_bucket}/runs/fails"

    def fail():
        with run_place(run, group) as place:
            EventLog(place.folder / "events.jsonl").write("failed")
            raise RunError("of no use")

    with pytest.raises(RunError, match="of no use"):
        fail()
    shutil.rmtree(local_folder(run))
    assert '"failed"' in storage.read_text(f"{run}/events.jsonl")


def test_a_run_on_s3_killed_and_started_again_equals_an_undisturbed_local_one(
    command, undisturbed, s3_bucket, tmp_path
):
    run, shards = f"{s3_bucket}/runs/tiny", f"{s3_bucket}/shards"
    for split in ("train", "validation"):
        for file in (command.folder / split).iterdir():
            storage.upload(file, f"{shards}/{split}/{file.name}")
    words = [f"data.train={shards}/train", f"data.validation={shards}/validation"]
    process = command.start(run, *words)
    wait_for(lambda: storage.exists(f"{run}/checkpoints/latest"), process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    command.finish(run, *words)
    fetch_run(run, tmp_path / "fetched")
    assert curve(tmp_path / "fetched") == curve(undisturbed)
    assert_same_weights(run, undisturbed)
    steps = {
        file.url.split("/step-")[1][:10] for file in storage.list_files(f"{run}/checkpoints") if "/step-" in file.url
    }
    assert steps == {"0000000008", "0000000012"}
