"""A run of two processes whose ranks are killed at random moments, again and again.

KILLS=50 KILLS_SEED=0 pytest -m slow -s tests/pipeline/train/test_kills_of_training.py
"""

import json
import os
import random
import signal
import threading
import time

import psutil
import pytest
from moments import has_loaded, has_met_others, has_touched, is_there, listens_to, wait_for

from cluster.exit_codes import RESTART
from tiny_training import curve

STARTING = (is_there, listens_to(signal.SIGTERM), has_loaded("libtorch_cpu"), has_met_others)
"""Moments of a start-up, in their order."""
EACH = 16
"""Most steps between two kills; checkpoints come every 5."""


def ranks_of(process):
    """Rank → process, of those that run now."""
    ranks = {}
    for child in psutil.Process(process.pid).children():
        try:
            name, _, number = child.name().partition(" ")
        except psutil.Error:  # ended
            continue
        if name == "rank":
            ranks[int(number)] = child
    return ranks


def steps_in(run):
    file = run / "metrics.jsonl"
    return file.read_text().count("\n") if file.exists() else 0


def events(run, *names):
    file = run / "events.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    return [event for event in map(json.loads, lines) if event["event"] in names]


def wait_until(condition, process, seconds=300):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.slow
def test_a_stopped_rank_is_named_and_the_run_goes_on_without_a_trace(command, tmp_path):
    whole, run = tmp_path / "whole", tmp_path / "run"
    command.finish(whole, "--nproc", "2")
    process = command.start(run, "--nproc", "2", "--restarts", "1", "train.health.hang_s=60")
    wait_until((run / "checkpoints" / "latest").exists, process)
    os.kill(ranks_of(process)[1].pid, signal.SIGSTOP)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert curve(run) == curve(whole)
    (hang,) = events(run, "hang")
    assert (hang["rank"], hang["answers"]) == (1, False)
    assert "pipeline/train/step.py" in (run / "logs" / "stacks-rank-00000.txt").read_text()
    assert len(events(run, "rank_failed")) == len(events(run, "resume")) == 1


@pytest.mark.slow
def test_a_signal_to_one_rank_makes_all_save_and_leave(command, tmp_path):
    process = command.start(tmp_path, "--nproc", "2", "--restarts", "1", "train.steps=1000")
    wait_until(lambda: steps_in(tmp_path) > 0, process)
    os.kill(ranks_of(process)[1].pid, signal.SIGUSR2)
    process.communicate(timeout=300)
    assert process.returncode == RESTART
    (stop,) = events(tmp_path, "stop")
    assert stop["reason"] == "SIGUSR2"
    assert events(tmp_path, "checkpoint")[-1]["step"] == stop["step"]


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_a_run_whose_ranks_are_killed_at_random_moments_equals_an_undisturbed_one(command, tmp_path):
    kills, seed = int(os.environ.get("KILLS", "50")), int(os.environ.get("KILLS_SEED", "0"))
    draw = random.Random(seed)
    words = ["--nproc", "2", f"train.steps={EACH * max(kills, 4)}", "train.checkpoint_every=5", "train.log_every=1"]
    words += ["train.validate_every=100", "train.zero_stage=2"]
    whole, run = tmp_path / "whole", tmp_path / "run"
    started = time.monotonic()
    _, err = command.start(whole, *words).communicate(timeout=3600)
    assert (whole / "checkpoints" / "latest").exists(), err
    undisturbed_s = time.monotonic() - started

    started = time.monotonic()
    process = command.start(run, *words, "--restarts", str(kills))
    said: list[str] = []  # read all the time: a full pipe would stop everybody
    readers = [
        threading.Thread(target=lambda pipe=pipe: said.extend(pipe)) for pipe in (process.stdout, process.stderr)
    ]
    for reader in readers:
        reader.start()
    killed, ranks = {"start-up": 0, "training": 0}, {}
    for _ in range(kills):
        old, begun = {one.pid for one in ranks.values()}, len(events(run, "start", "resume"))
        wait_until(lambda old=old: len([1 for one in ranks_of(process).values() if one.pid not in old]) == 2, process)
        ranks = ranks_of(process)
        moment, victim = "start-up" if draw.random() < 0.2 else "training", ranks[draw.choice((0, 1))]
        if moment == "start-up":
            wait_for(draw.choice([*STARTING, has_touched(run / "config.yaml")]), victim)
        else:
            wait_until(lambda begun=begun: len(events(run, "start", "resume")) > begun, process)
            goal = steps_in(run) + draw.randrange(1, EACH)
            wait_until(lambda goal=goal: steps_in(run) >= goal, process)
        victim.kill()
        killed[moment] += 1
    assert process.wait(3600) == 0, "".join(said)
    took_s = time.monotonic() - started
    for reader in readers:
        reader.join()

    assert curve(run) == curve(whole)
    crashes = events(run, "rank_failed")
    assert len(crashes) == kills
    assert all("was killed by SIGKILL" in crash["reason"] for crash in crashes)
    goodput = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["goodput"]
    print(
        f"\n{kills} kills ({killed['start-up']} of them during start-up, seed {seed}): curve of "
        f"{EACH * max(kills, 4)} steps equal; {took_s:.0f} s against {undisturbed_s:.0f} s undisturbed; "
        f"goodput {goodput:.3f}"
    )
