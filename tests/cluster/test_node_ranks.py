"""The ranks of one machine of several: who they are, where their words go, and with whom they end."""

import os
import subprocess
import sys
from pathlib import Path

import psutil

from cluster.job_folder import JobFolder
from small_job import small_job, wait_until

TOLD = "import os; print(*[os.environ[name] for name in ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'LOCAL_WORLD_SIZE')])"
FIRST = {"RANK": "2", "WORLD_SIZE": "6", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29999"}


def words(job: JobFolder, parent: int) -> list[str]:
    return [sys.executable, "-m", "cluster.launchers.node_ranks", job.url, "1", "2", str(parent)]


def test_ranks_follow_on_the_first_and_log_in_the_attempts_folder(tmp_path: Path) -> None:
    job = small_job(tmp_path, TOLD + "; exit(75)")
    done = subprocess.run(words(job, os.getpid()), env=os.environ | FIRST, timeout=60)
    assert done.returncode == 75
    assert [Path(job.log_url(1, rank)).read_text() for rank in (2, 3)] == ["2 0 6 2\n", "3 1 6 2\n"]


def test_ranks_end_with_who_started_them_and_do_not_begin_without(tmp_path: Path) -> None:
    job = small_job(tmp_path, "import os, time; print(os.getpid(), flush=True); time.sleep(60)")
    starter = "import os, subprocess, sys; subprocess.Popen([*sys.argv[1:], str(os.getpid())]); input()"
    parent = subprocess.Popen(
        [sys.executable, "-c", starter, *words(job, 0)[:-1]], env=os.environ | FIRST, stdin=subprocess.PIPE
    )
    logs = [Path(job.log_url(1, rank)) for rank in (2, 3)]
    wait_until(lambda: all(log.exists() and log.read_text().endswith("\n") for log in logs))
    parent.kill()
    parent.communicate()
    wait_until(lambda: not any(psutil.pid_exists(int(log.read_text())) for log in logs))
    assert subprocess.run(words(job, 1), env=os.environ | FIRST, timeout=60).returncode == 1
