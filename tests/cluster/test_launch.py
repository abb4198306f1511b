"""Starting processes again, and not; their command is a small script, so that it takes no time."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cluster.exit_codes import HUNG, IN_USE, INTERRUPTED, RESTART, WRONG_INPUT
from cluster.launch import launch_local

NOTE_START = """
import os, signal, sys, time
from pathlib import Path
folder, rank = Path(sys.argv[1]), os.environ["RANK"]
with (folder / f"starts-{rank}").open("a") as starts:
    starts.write(os.environ["MASTER_PORT"] + "\\n")
tries = len((folder / f"starts-{rank}").read_text().split())
"""


def launch(folder, script, restarts=0, **words):
    crashes = []
    words |= {"on_crash": lambda failure, left: crashes.append((str(failure), left))}
    code = launch_local([sys.executable, "-c", NOTE_START + script, str(folder)], 2, restarts, **words)
    return code, crashes, len((folder / "starts-0").read_text().split())


def test_all_processes_start_again_after_one_was_killed(tmp_path):
    script = (
        "begun = folder / 'starts-0'\n"  # a process that is ended before it has counted begins its first try twice
        "while not (begun.exists() and begun.read_text()): time.sleep(0.01)\n"
        "if tries == 1: os.kill(os.getpid(), signal.SIGKILL) if rank == '1' else time.sleep(600)"
    )
    code, crashes, starts = launch(tmp_path, script, restarts=2)
    assert (code, starts) == (0, 2)
    assert crashes == [("rank 1 was killed by SIGKILL", 2)]
    first, second = (tmp_path / "starts-0").read_text().split()
    assert first != second  # the old port may still be taken


@pytest.mark.parametrize(
    ("code", "left_with", "starts"),
    [
        (1, 1, 3),
        (HUNG, RESTART, 3),
        (WRONG_INPUT, WRONG_INPUT, 1),
        (IN_USE, IN_USE, 1),
        (RESTART, RESTART, 1),
        (INTERRUPTED, INTERRUPTED, 1),
    ],
)
def test_crashes_and_hangs_restart_so_often_and_other_ends_do_not(tmp_path, code, left_with, starts):
    # of a crash the other process is told by its end; all leave by themselves where they were asked to
    alone = f"sys.exit({code}) if rank == '0' else time.sleep(600)"
    found, crashes, started = launch(tmp_path, alone if starts == 3 else f"sys.exit({code})", restarts=2)
    assert (found, started) == (left_with, starts)
    assert [left for _, left in crashes] == ([2, 1, None] if starts == 3 else [])


def test_progress_gives_all_restarts_back(tmp_path):
    script = "(folder / f'progress{tries}').touch() if tries <= 3 else None; sys.exit(1)"
    script = f"time.sleep(600) if rank == '1' else None; {script}"
    code, crashes, _ = launch(tmp_path, script, restarts=2, reached=lambda: len(list(tmp_path.glob("progress*"))))
    assert code == 1
    assert [left for _, left in crashes] == [2, 2, 2, 1, None]


def start_launcher(folder, script):
    program = (
        "import sys; from cluster.launch import launch_local\n"
        f"sys.exit(launch_local([sys.executable, '-c', {NOTE_START + script!r}, {str(folder)!r}], 2, restarts=3))"
    )
    root = str(Path(__file__).parents[2])
    process = subprocess.Popen([sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": root})
    deadline = time.monotonic() + 60
    while not all((folder / f"ready-{rank}").exists() for rank in (0, 1)):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return process


@pytest.mark.parametrize("name", ["SIGUSR2", "SIGHUP"])
def test_a_signal_is_passed_on_and_nothing_starts_again(tmp_path, name):
    script = (
        f"signal.signal(signal.{name}, lambda *_: sys.exit({RESTART})); (folder / f'ready-{{rank}}').touch()\n"
        "time.sleep(600)"
    )
    process = start_launcher(tmp_path, script)
    process.send_signal(getattr(signal, name))
    assert process.wait(60) == RESTART
    assert len((tmp_path / "starts-0").read_text().split()) == 1


def test_a_second_signal_ends_processes_that_do_not_leave(tmp_path):
    script = "signal.signal(signal.SIGTERM, signal.SIG_IGN); (folder / f'ready-{rank}').touch(); time.sleep(600)"
    process = start_launcher(tmp_path, script)
    process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == RESTART
