"""Processes that are forked from one that has imported for all of them, by a program that is made up for it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from cluster.exit_codes import INTERRUPTED, RESTART
from cluster.fork_server import ForkServer
from cluster.launch import launch_local

PROGRAM = """
import os, sys, time
from pathlib import Path

def get_ready(words):
    with (Path(words[0]) / "imports").open("a") as imports:
        imports.write(f"{os.getpid()}\\n")
    sys.modules["ready_for"] = list(words)
    BEHIND

if __name__ == "__main__":
    folder, rank = Path(sys.argv[1]), os.environ["RANK"]
    with (folder / f"starts-{rank}").open("a") as starts:
        starts.write(f"{os.getpid()}\\n")
    tries = len((folder / f"starts-{rank}").read_text().split())
    warm = sys.modules.get("ready_for") == sys.argv[1:]
    MAIN
"""
IMPORT_FAILS = "raise ImportError('not here')"


class Program:
    """A module that is run by `python -m`, in a folder of its own."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.command = [sys.executable, "-m", "made_up_program", str(folder)]
        path = os.pathsep.join((str(folder), str(Path(__file__).parents[2])))
        monkeypatch.setenv("PYTHONPATH", path)

    def write(self, main: str, behind: str = "") -> None:
        text = PROGRAM.replace("BEHIND", behind).replace("MAIN", main.replace("\n", "\n    "))
        (self.folder / "made_up_program.py").write_text(text)

    def pids(self, name: str) -> list[int]:
        file = self.folder / name
        return [int(line) for line in file.read_text().split()] if file.exists() else []

    def start_launcher(self, restarts: int = 0) -> subprocess.Popen[str]:
        code = (
            f"from cluster.launch import launch_local; raise SystemExit(launch_local({self.command!r}, 2, {restarts}))"
        )
        return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, start_new_session=True)


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    return Program(tmp_path, monkeypatch)


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_ranks_are_what_a_start_would_have_made_of_them_and_imported_once_for_all(program: Program) -> None:
    program.write(
        "import json\n"
        "told = {'warm': warm, 'parent': os.getppid(), 'words': sys.argv[1:], 'main': __name__,\n"
        "        'world': os.environ['WORLD_SIZE'], 'name': Path('/proc/self/comm').read_text().strip()}\n"
        "print(json.dumps(told))\n"
        "sys.exit(7 if rank == '1' else 0)"
    )
    logs = [(program.folder / f"log-{rank}").open("wb") for rank in range(2)]
    code = launch_local(program.command, 2, output=lambda rank: logs[rank])
    assert code == 7
    for rank, log in enumerate(logs):
        log.close()
        told = json.loads((program.folder / f"log-{rank}").read_text())
        assert told == {
            "warm": True,
            "parent": os.getpid(),
            "words": [str(program.folder)],
            "main": "__main__",
            "world": "2",
            "name": f"rank {rank}",
        }
    assert len(program.pids("imports")) == 1


def test_ranks_that_start_again_import_nothing(program: Program) -> None:
    program.write(
        "os.kill(os.getpid(), 9) if rank == '1' and tries < 3 else None\n"
        "begun = folder / 'starts-1'\n"  # how often this one has is no measure: it may be ended before it counts
        "while not begun.exists() or len(begun.read_text().split()) < 3: time.sleep(0.01)"
    )
    assert launch_local(program.command, 2, restarts=2) == 0
    assert (len(program.pids("imports")), len(program.pids("starts-1"))) == (1, 3)


def test_what_cannot_be_imported_for_all_each_rank_meets_for_itself(program: Program) -> None:
    program.write("sys.exit(3 if warm else 5)", behind=IMPORT_FAILS)
    assert launch_local(program.command, 2) == 5


def test_a_server_that_was_killed_takes_no_rank_with_it_and_another_serves_the_next_start(program: Program) -> None:
    program.write(
        "while tries == 1 and not (folder / 'go').exists(): time.sleep(0.01)\nsys.exit(0 if warm and tries == 2 else 1)"
    )
    launcher = program.start_launcher(restarts=1)
    wait_for(lambda: program.pids("starts-0") and program.pids("starts-1"))
    (server,) = program.pids("imports")
    os.kill(server, signal.SIGKILL)
    wait_for(lambda: is_gone(server))
    (program.folder / "go").touch()
    assert launcher.wait(60) == 0
    assert len(program.pids("imports")) == 2


def test_ranks_and_server_end_with_a_launcher_that_is_killed(program: Program) -> None:
    program.write("time.sleep(600)")
    launcher = program.start_launcher()
    wait_for(lambda: program.pids("starts-0") and program.pids("starts-1"))
    launcher.kill()
    launcher.wait()
    for name in ("imports", "starts-0", "starts-1"):
        wait_for(lambda name=name: is_gone(program.pids(name)[0]))


def test_a_signal_to_all_of_the_group_reaches_ranks_and_none_is_lost_with_the_server(program: Program) -> None:
    program.write(
        "import signal\nsignal.signal(signal.SIGUSR2, lambda *_: sys.exit(75))\n"
        "(folder / f'listens-{rank}').touch()\ntime.sleep(600)"
    )
    launcher = program.start_launcher()
    wait_for(lambda: all((program.folder / f"listens-{rank}").exists() for rank in (0, 1)))
    os.killpg(launcher.pid, signal.SIGUSR2)  # as Slurm signals all processes of a step
    assert launcher.wait(60) == RESTART


def test_a_signal_to_the_server_as_its_python_begins_is_none_of_its_business(program: Program) -> None:
    program.write("sys.exit(0 if warm else 1)")
    server = ForkServer(program.command, os.environ)
    try:
        assert server._server is not None
        server._server.send_signal(signal.SIGINT)
        assert server.start("rank 0", os.environ | {"RANK": "0"}).wait() == 0
    finally:
        server.close()


def test_a_server_that_is_killed_while_it_forks_makes_no_rank_twice(program: Program) -> None:
    dies = "os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), 9))"
    program.write("time.sleep(0.5)\nsys.exit(0)", behind=dies)
    assert launch_local(program.command, 2) == 0
    assert (len(program.pids("starts-0")), len(program.pids("starts-1"))) == (1, 1)


def test_a_ctrl_c_while_ranks_are_forked_ends_them_without_a_traceback(program: Program) -> None:
    program.write("", behind="os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), 2))")
    launcher = program.start_launcher()
    _, said = launcher.communicate(timeout=60)
    assert (launcher.returncode, said) == (INTERRUPTED, "")
    assert program.pids("starts-0") + program.pids("starts-1") == []


def test_servers_of_one_process_fork_at_the_same_time_and_each_process_is_its_child(program: Program) -> None:
    program.write("sys.exit(int(rank) if warm else 99)")
    servers = [ForkServer(program.command, os.environ) for _ in range(2)]
    try:
        for server in servers:
            server.wait(lambda: False)
        with ThreadPoolExecutor(2) as at_once:
            starts = [
                at_once.submit(servers[number % 2].start, f"rank {number}", os.environ | {"RANK": str(number)})
                for number in range(24)
            ]
        assert [start.result().wait() for start in starts] == list(range(24))
    finally:
        for server in servers:
            server.close()


def test_a_signal_while_all_is_imported_ends_at_once_with_a_sentence(program: Program) -> None:
    program.write("", behind="time.sleep(600)")
    launcher = program.start_launcher(restarts=3)
    wait_for(lambda: program.pids("imports"))
    launcher.send_signal(signal.SIGTERM)
    _, said = launcher.communicate(timeout=60)
    assert launcher.returncode == RESTART
    assert said == "gavt: stopped by SIGTERM before the first step; the same command goes on\n"
    assert is_gone(program.pids("imports")[0])


def test_what_a_stopped_server_does_not_fork_is_started(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.fork_server._ANSWERS_S", 0.2)
    program.write("sys.exit(1 if warm else 0)")
    server = ForkServer(program.command, os.environ)
    try:
        server.wait(lambda: False)
        os.kill(program.pids("imports")[0], signal.SIGSTOP)
        process = server.start("rank 0", os.environ | {"RANK": "0"})
        assert process.wait() == 0
        assert server.has_ended
    finally:
        server.close()


def test_processes_of_a_command_whose_streams_are_closed_are_forked_too(program: Program) -> None:
    program.write("print('to nobody', flush=True)\nsys.exit(0 if warm and sys.stdin.read() == '' else 1)")
    code = (
        "from jobs.unread import work_goes_on_unread; from cluster.launch import launch_local; import os\n"
        f"with work_goes_on_unread(): os.pipe(); raise SystemExit(launch_local({program.command!r}, 2))"
    )
    closed = ["bash", "-c", 'exec "$@" <&- >&- 2>&-', "bash", sys.executable, "-c", code]
    assert subprocess.run(closed, timeout=60).returncode == 0


def test_only_modules_of_this_python_are_forked() -> None:
    for command in ([sys.executable, "-c", "pass"], ["docker", "run", "python3", "-m", "made_up_program"]):
        assert ForkServer(command, os.environ).has_ended
