"""This machine: a job's processes below one that nobody's shell or connection holds.

python -m cluster.launchers.local JOB       that one: it runs the job's attempts until the job is over
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from cluster import storage
from cluster.errors import JobError
from cluster.job_environment import without_launcher
from cluster.job_folder import JobFolder
from cluster.job_records import JobRecord
from cluster.launch import launch_local
from cluster.launchers.attempt import Then, rest, run_attempt
from cluster.launchers.contract import Phase, PlaceState
from cluster.launchers.rank_logs import RankLogs
from cluster.launchers.script import bash_script
from cluster.private_folder import open_own, private_folder
from cluster.scratch import temporary_place
from cluster.storage.location import path_of

_GRACE_S = 120.0
"""In which processes that were asked to leave must have saved."""
_PAUSE_S = 1.0


class LocalLauncher:
    """See `cluster.launchers.contract.Launcher`. An id is `PID@HOST`, with what tells the process from later ones."""

    def check(self, record: JobRecord) -> None:
        """Refuse what this machine has not."""
        asked = record.resources
        if asked.nodes != 1:
            raise JobError(f"--nodes: expected 1 on this machine, found {asked.nodes}")
        for option, value in (("--partition", asked.partition), ("--time", asked.time_s)):
            if value is not None:
                raise JobError(f"{option}: expected none, since this machine has no queue, found {value}")
        if asked.gpus_per_node:
            import torch  # which takes seconds

            if asked.gpus_per_node > (there := torch.cuda.device_count()):
                raise JobError(f"--gpus-per-node: expected at most this machine's {there}, found {asked.gpus_per_node}")

    def script(self, record: JobRecord, url: str) -> str:
        """What runs the job in the foreground; it is submitted as it is."""
        head = [f"# gavt's job {record.name} on this machine; its command stands in job.json beside this file"]
        return bash_script(record, head, [record.python, "-m", "cluster.launchers.local", url])

    def submit(self, job: JobFolder) -> str:
        """Start it in a session of its own."""
        with _own_log(job) as log:
            process = subprocess.Popen(
                ["bash", "-c", self.script(job.record, job.url)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=without_launcher(os.environ),
                start_new_session=True,
            )
        return f"{process.pid}@{socket.gethostname()} {_sort_of(process.pid)}"

    def state(self, job: JobFolder) -> PlaceState:
        """Whether the process that runs the attempts is there."""
        notes = job.submissions()
        if not notes:
            return PlaceState(Phase.GONE, "never started")
        name, _, sort = notes[-1].id.partition(" ")
        pid, _, host = name.partition("@")
        if host != socket.gethostname():
            return PlaceState(Phase.UNKNOWN, f"it was started on {host}; ask there")
        alive = _sort_of(int(pid)) == sort
        return PlaceState(Phase.RUNNING if alive else Phase.GONE, f"process {pid} on {host}")

    def cancel(self, job: JobFolder) -> None:
        """Have the processes save and leave; after two minutes they are killed."""
        state = self.state(job)
        if state.phase == Phase.UNKNOWN:
            raise JobError(f"{job.name}: {state.detail}")
        pid = int(job.submissions()[-1].id.partition("@")[0])
        until = time.monotonic() + _GRACE_S
        number: int = signal.SIGTERM
        with suppress(ProcessLookupError):
            while self.state(job).phase == Phase.RUNNING:
                if number:
                    os.kill(pid, number)
                number = signal.SIGKILL if time.monotonic() > until else 0
                time.sleep(0.1)

    def logs(self, job: JobFolder) -> str:
        """What the process that runs the attempts has said."""
        try:
            return _own_log_path(job).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:  # on another machine
            return ""


def _sort_of(pid: int) -> str:
    """What tells a process from another that gets its number later, or has it in another container; empty where there
    is no such process."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return ""
        return f"{process.create_time():.2f}/{os.stat('/proc/self/ns/pid').st_ino}"
    except (psutil.Error, OSError):
        return ""


def _own_log_path(job: JobFolder) -> Path:
    if not storage.is_remote(job.url):
        return path_of(job.url) / "place.log"
    return temporary_place() / f"gavt-jobs-{os.getuid()}" / f"{job.name}.log"


@contextmanager
def _own_log(job: JobFolder) -> Iterator[int]:
    path = _own_log_path(job)
    if storage.is_remote(job.url):
        private_folder(path.parent)
    file = open_own(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        yield file
    finally:
        os.close(file)


def run_here(job: JobFolder, id: str | None = None) -> None:
    """Run the job's attempts until it is over, or this process is asked to leave.

    Args:
        id: the job's at its place; by default that of this process.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # of the terminal that it was started from
    asked: list[int] = []
    known_as = id or f"{os.getpid()}@{socket.gethostname()}"
    processes = job.record.resources.processes if job.record.ranked else 1

    def run(logs: RankLogs) -> int:
        return launch_local(job.record.command, processes, output=logs.of, on_signal=asked.append)

    while (then := run_attempt(job, known_as, run)) != Then.OVER and not asked:
        if then == Then.WHEN_FREE:
            rest(job)
        time.sleep(_PAUSE_S)


if __name__ == "__main__":
    run_here(JobFolder(sys.argv[1]))
