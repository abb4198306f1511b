"""What asks a run to save and leave, and data that ends too early."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cluster.exit_codes import RESTART
from cluster.time_limit import STARTED, end_time, time_is_up
from pipeline.errors import RunError, ShardSetError
from pipeline.train.feed import Feed

NOTES_SIGNALS = """
import sys, time
from pipeline.train.stop_signals import stop_signals
with stop_signals() as signals:
    print("ready", flush=True)
    while not signals.received:
        time.sleep(0.01)
    print("asked", signals.received, flush=True)
    time.sleep(60)
"""


def test_the_first_signal_asks_a_repetition_is_the_same_and_a_second_one_ends_at_once():
    process = subprocess.Popen([sys.executable, "-c", NOTES_SIGNALS], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == f"asked {signal.SIGTERM.value}\n"
    process.send_signal(signal.SIGTERM)  # the scheduler's, passed on by the launcher
    time.sleep(0.7)
    assert process.poll() is None
    process.send_signal(signal.SIGUSR2)
    assert process.wait(20) == -signal.SIGUSR2


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR2"])
def test_a_signal_while_the_program_starts_asks_for_a_restart_too(name):
    script = (
        "import os, signal, sys, time, pipeline.settings.load as load\n"
        "from jobs.cli import main\n"
        f"load.load_settings = lambda *words: (os.kill(os.getpid(), signal.{name}), time.sleep(20))\n"
        "main(['train', 'some.yaml'])\n"
    )
    root = str(Path(__file__).parents[3])
    ended = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True)
    assert ended.returncode == RESTART
    assert f"stopped by {name} before the first step" in ended.stderr


def test_the_time_limit_counts_from_the_start_of_the_job_and_heeds_the_allocations_end(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_END_TIME", raising=False)
    monkeypatch.delenv(STARTED, raising=False)
    assert end_time(None) is None
    assert not time_is_up(None)
    assert time_is_up(end_time(0.0))
    assert not time_is_up(end_time(3600.0))
    monkeypatch.setenv(STARTED, str(time.time() - 5000))  # a launcher that has started this process again
    assert time_is_up(end_time(3600.0))
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time()) + 90))  # too little for a checkpoint and the rest
    assert time_is_up(end_time(None))
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time()) + 3600))
    assert not time_is_up(end_time(None))


def test_a_process_without_data_says_so_before_the_next_step_and_then_why():
    def batches():
        yield "first"
        raise ShardSetError("shards are gone")

    feed = Feed(batches())
    assert feed.has_more()
    assert next(feed) == "first"
    assert not feed.has_more()
    with pytest.raises(ShardSetError, match="shards are gone"):
        feed.fail()
    with pytest.raises(ShardSetError, match="shards are gone"):
        next(feed)
    other = Feed(iter(["first", "second"]))
    next(other)
    assert other.has_more()
    with pytest.raises(RunError, match="a process has no data for another step"):
        other.fail()
    assert next(other) == "second"
