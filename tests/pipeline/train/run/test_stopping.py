"""What asks a run to save and leave, and data that ends too early."""

import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from moments import has_loaded, has_met_others, has_touched, listens_to, wait_for

from cluster.exit_codes import INTERRUPTED, RESTART
from cluster.free_port import free_port
from cluster.job_environment import JobEnvironment
from cluster.time_limit import end_time, time_is_up
from jobs.cli import main
from pipeline.errors import RunError, ShardSetError
from pipeline.train.loop import TrainResult
from pipeline.train.micro_batches import MicroBatches

STOPPING = (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT)
NOTES_SIGNALS = """
import sys, time
from pipeline.train.run.stop_signals import stop_signals
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


def test_a_hangup_asks_to_save_too_unless_the_program_was_started_to_survive_it():
    for command, asked in (([], signal.SIGHUP), (["nohup"], signal.SIGTERM)):
        words = [*command, sys.executable, "-c", NOTES_SIGNALS]
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGHUP)
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == f"asked {asked.value}\n"
        process.kill()
        process.communicate()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR2", "SIGHUP"])
def test_a_signal_while_the_program_starts_asks_for_a_restart_too(name):
    script = (
        "import os, signal, sys, time, pipeline.settings.load as load\n"
        "from jobs.cli import main\n"
        f"load.load_settings = lambda *words: (os.kill(os.getpid(), signal.{name}), time.sleep(20))\n"
        "main(['train', 'some.yaml'])\n"
    )
    root = str(Path(__file__).parents[4])
    ended = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True)
    assert ended.returncode == RESTART
    assert f"stopped by {name} before the first step" in ended.stderr


def test_a_signal_while_the_verbs_are_imported_asks_for_a_restart_too():
    script = (
        "import os, signal, sys, time\n"
        "from jobs.cli import main\n"
        "class Slow:\n"
        "    def find_spec(name, *words):\n"
        "        if name == 'typer':\n"
        "            os.kill(os.getpid(), signal.SIGTERM), time.sleep(20)\n"
        "sys.meta_path.insert(0, Slow)\n"
        "sys.argv = ['gavt', 'train', 'some.yaml']\n"
        "main()\n"
    )
    root = str(Path(__file__).parents[4])
    ended = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True)
    said = "gavt: stopped by SIGTERM before the first step; the same command goes on\n"
    assert (ended.returncode, ended.stderr) == (RESTART, said)


MEETS_OTHERS = """
import sys
from cluster.job_environment import JobEnvironment
from pipeline.train.run.stop_signals import StartUp
starting = StartUp(JobEnvironment.of_this_process())
with starting.noted(), starting.heard():
    from cluster.process_group import join_process_group
    join_process_group()
"""


def test_a_signal_while_processes_wait_for_each_other_ends_them_for_a_restart():
    root = str(Path(__file__).parents[4])
    ends = {}
    with socket.create_server(("127.0.0.1", 0)) as first:  # where rank 1 takes it for the first process
        ports = {"0": free_port(), "1": first.getsockname()[1], "0 too": free_port()}
        for name, port in ports.items():
            job = {"RANK": name[0], "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            command = [sys.executable, "-c", MEETS_OTHERS, name[0]]
            ends[name] = subprocess.Popen(command, cwd=root, env=os.environ | job, stderr=subprocess.PIPE, text=True)
        try:
            connection, _ = first.accept()
            for name in ("0", "0 too"):
                wait_until_it_listens(ports[name], ends[name])
            for process, number in zip(ends.values(), (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT), strict=True):
                process.send_signal(number)
            said = [process.communicate(timeout=20)[1] for process in ends.values()]
            connection.close()
        finally:
            for process in ends.values():
                process.kill()
    assert [process.returncode for process in ends.values()] == [RESTART, RESTART, INTERRUPTED], said
    assert said == [
        "gavt: stopped by SIGTERM before the first step; the same command goes on\n",
        "",
        "gavt: interrupted before the first step; the same command goes on\n",
    ]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_signals_at_random_moments_end_all_processes_for_a_restart_with_one_line(command, tmp_path):
    draw = random.Random(int(os.environ.get("SIGNALS_SEED", "0")))
    line = re.compile(r"gavt: (stopped by SIG\w+|interrupted) (before the first step|after step \d+); the same .*\n")
    for attempt in range(int(os.environ.get("SIGNALS", "12"))):
        job = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WANDB_MODE": "disabled"}
        run = tmp_path / str(attempt)
        words = ["train", str(command.config), "--run", str(run), "train.steps=100000"]
        ranks = [
            subprocess.Popen(
                [sys.executable, "-m", "jobs.cli", *words],
                env=os.environ | job | {"RANK": str(rank), "OMP_NUM_THREADS": "1"},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(2)
        ]
        try:
            starting = (has_loaded("libtorch_cpu"), has_met_others, has_touched(run / "config.yaml"))
            for process in ranks:
                assert wait_for(listens_to(*STOPPING), psutil.Process(process.pid))
            moment = draw.choice((*starting, has_touched(run / "events.jsonl"), has_touched(run / "metrics.jsonl")))
            assert wait_for(moment, psutil.Process(ranks[0].pid))
            number = draw.choice(STOPPING)
            for process in draw.sample(ranks, 2):  # a scheduler needs a moment for all
                process.send_signal(number)
                time.sleep(draw.choice((0, 0.05, 0.3)))
            said = [process.communicate(timeout=60)[1] for process in ranks]
        finally:
            for process in ranks:
                process.kill()
        code = INTERRUPTED if number == signal.SIGINT else RESTART
        assert [process.returncode for process in ranks] == [code, code], said
        assert line.fullmatch(said[0]), said
        assert said[1] == ""


def wait_until_it_listens(port, process, seconds=120):
    deadline = time.monotonic() + seconds
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_a_signal_while_the_program_ends_does_not_make_a_failure_of_it():
    script = (
        "import atexit, os, signal, sys, types\n"
        "from jobs.cli import main\n"
        "result = types.SimpleNamespace(step=1, stopped_by=None, last={})\n"
        "sys.modules['pipeline.train.loop'] = types.SimpleNamespace(train=lambda *words: result)\n"
        "for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2, signal.SIGHUP):\n"
        "    atexit.register(os.kill, os.getpid(), number)\n"
        "main(['train', 'configs/experiments/gavt_c.yaml', '--run', 'run'])\n"
    )
    root = str(Path(__file__).parents[4])
    ended = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(("rank", "says"), [("0", True), ("1", False)])
def test_one_process_says_for_all_that_the_run_was_stopped(command, monkeypatch, capsys, rank, says):
    job = {"RANK": rank, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for name, value in job.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("jobs.train._train_here", lambda *words: TrainResult(7, "SIGTERM", {}))
    with pytest.raises(SystemExit) as left:
        main(["train", str(command.config)])
    assert left.value.code == RESTART
    assert ("stopped by SIGTERM after step 7" in capsys.readouterr().err) == says


def test_the_time_limit_counts_from_the_start_of_the_job_and_heeds_the_allocations_end():
    alone = JobEnvironment()
    assert end_time(None, alone) is None
    assert not time_is_up(None)
    assert time_is_up(end_time(0.0, alone))
    assert not time_is_up(end_time(3600.0, alone))
    again = JobEnvironment(started_s=time.monotonic() - 5000)  # a launcher has started this process again
    assert time_is_up(end_time(3600.0, again))
    little = JobEnvironment(allocation_ends_s=time.time() + 90)  # for a checkpoint and the rest
    assert time_is_up(end_time(None, little))
    assert not time_is_up(end_time(None, JobEnvironment(allocation_ends_s=time.time() + 3600)))


def test_a_process_without_data_says_so_before_the_next_step_and_then_why():
    def failing():
        yield "first"
        raise ShardSetError("shards are gone")

    batches = MicroBatches(failing())
    assert batches.has_more()
    assert next(batches) == "first"
    assert not batches.has_more()
    with pytest.raises(ShardSetError, match="shards are gone"):
        batches.fail()
    with pytest.raises(ShardSetError, match="shards are gone"):
        next(batches)
    other = MicroBatches(iter(["first", "second"]))
    next(other)
    assert other.has_more()
    with pytest.raises(RunError, match="a process has no data for another step"):
        other.fail()
    assert next(other) == "second"
