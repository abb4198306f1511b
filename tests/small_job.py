"""Jobs whose work is a few lines of Python."""

import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from cluster import storage
from cluster.cores import usable_cores
from cluster.job_folder import JobFolder
from cluster.job_records import JobRecord, ProgressFile, now
from cluster.launchers.contract import Launcher, Phase

COUNTED = """
import os, pathlib, sys
folder = pathlib.Path(os.environ["WORK"])
rank = os.environ.get("RANK") or os.environ.get("SLURM_PROCID", "0")
number = int(os.environ["GAVT_JOB_ATTEMPT"].split()[0])
print("attempt", number, "of rank", rank, flush=True)
"""
"""Begins a program: `number` is that of the attempt, the same on all ranks also where the one before ended so soon that
some had not begun."""

OF_ANOTHER_JOB = {
    "RANK": "7",
    "LOCAL_RANK": "7",
    "WORLD_SIZE": "8",
    "LOCAL_WORLD_SIZE": "8",
    "GROUP_RANK": "0",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "1",
    "TORCHELASTIC_RESTART_COUNT": "5",
    "TORCHELASTIC_USE_AGENT_STORE": "True",
    "WANDB_SERVICE": "gone",
}
"""What a process finds in its environment that `torchrun` started: a notebook that submits a job."""


SECRETS = {
    "AWS_ACCESS_KEY_ID": "recognisable-aws-id",
    "AWS_SECRET_ACCESS_KEY": "recognisable-aws-key",
    "WANDB_API_KEY": "recognisable-key-of-wandb",
}
ODD = "a 'b' \"$(touch x)\"; `id` \n*%j\\"
TELLS = """
import json, os, sys
print(json.dumps([sys.argv[1:], os.environ["SAID"], os.getcwd(), os.environ["AWS_SECRET_ACCESS_KEY"][::-1]]))
"""
"""A program that was given `ODD` as a word and as the variable SAID, and `SECRETS`, says what has come."""


def told(work: Path) -> str:
    """What `TELLS` says where all has come as it was, in a working folder."""
    return json.dumps([[ODD], ODD, str(work), SECRETS["AWS_SECRET_ACCESS_KEY"][::-1]])


def commands() -> str:
    """Those of all processes, as everybody sees them."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            found.append("\0".join(process.cmdline()))
    return "\n".join(found)


def files_with_secrets(*folders: str | Path, more: tuple[str, ...] = ()) -> list[Path]:
    """The files below folders in which one of `SECRETS`, or of some more, stands."""
    paths = [path for folder in folders for path in Path(folder).rglob("*") if path.is_file() and not path.is_symlink()]
    assert paths
    texts = {path: path.read_text(errors="replace") for path in paths}
    return [path for path, text in texts.items() if any(one in text for one in (*SECRETS.values(), *more))]


def small_job(work: Path, code: str, **fields: Any) -> JobFolder:
    """A job, not submitted yet, that runs Python code; `done` in its folder says how far it is."""
    work.mkdir(exist_ok=True)
    os.environ["WORK"] = str(work)
    record = {
        "name": "train-small",
        "verb": "train",
        "place": "local",
        "python": sys.executable,
        "program": (sys.executable, "-c"),
        "words": (code,),
        "ranked": True,
        "directory": str(work),
        "folder": str(work),
        "user": "me",
        "host": "here",
        "submitted": now(),
        "progress": ProgressFile(url=str(work / "done")),
    }
    return JobFolder.create(JobRecord.model_validate(record | fields))


def submitted(launcher: Launcher, job: JobFolder) -> JobFolder:
    """The job, handed to its place."""
    job.note_submission(launcher.submit(job), "submit", 0)
    return job


def wait_until(condition: Callable[[], object], limit_s: float = 30, why: Callable[[], str] = lambda: "") -> None:
    """Wait for something to come true; `why` says what is known where it does not."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() < began + patience(limit_s), f"not within {limit_s} s\n{why()}"
        time.sleep(0.05)


def finished(launcher: Launcher, job: JobFolder, idle_s: float = 90) -> JobFolder:
    """The job, when it has an outcome and has left its place; fails when no attempt begins or ends for long."""
    seen, moved = job.attempts(), time.monotonic()
    while not (job.outcome and launcher.state(job).phase == Phase.GONE):
        attempts = job.attempts()
        if attempts != seen:
            seen, moved = attempts, time.monotonic()
        assert time.monotonic() < moved + patience(idle_s), f"no move for {idle_s} s:\n{story(launcher, job)}"
        time.sleep(0.05)
    return job


def patience(limit_s: float) -> float:
    """A limit in seconds where this machine has nothing else to do, as it is while others use its cores too."""
    return limit_s * max(1.0, os.getloadavg()[0] / usable_cores())


def story(launcher: Launcher, job: JobFolder) -> str:
    """All that is known of a job."""
    lines = [f"{launcher.state(job)}, {job.outcome}", *map(str, job.attempts())]
    for attempt in job.attempts():
        for rank in job.ranks(attempt.number):
            said = storage.read_text(job.log_url(attempt.number, rank)).splitlines()[-5:]
            lines += [f"attempt {attempt.number}, rank {rank}: {line}" for line in said]
    return "\n".join([*lines, launcher.logs(job)])
