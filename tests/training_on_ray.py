"""A training of two ranks on two nodes of a test's Ray cluster, submitted by the command."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil

from cluster.job_folder import JobFolder
from jobs.local.ray_cluster import RayCluster
from small_job import wait_until
from tiny_training import Command, curve

WORDS = (
    *("train.steps=60", "train.log_every=1", "train.checkpoint_every=8", "train.validate_every=20"),
    # what dropout draws and the statistics of one process's samples would depend on the number of processes
    *("model.dropout=0", "model.visual_embedder.norm=sync_batch", "model.audio_embedder.norm=group"),
)
SITE = "environment: {OMP_NUM_THREADS: '1'}\nray: {wait_s: 5}\n"
Curve = list[tuple[float, ...]]


class TrainingOnRay:
    """The submitted job and its run."""

    def __init__(self, command: Command, run: Path, cluster: RayCluster, *more: str) -> None:
        site = command.folder / "site.yaml"
        site.write_text(SITE)
        self.run = run
        words = ["train", str(command.config), "--run", str(run), *WORDS, *more, "--to", "ray"]
        words += ["--nodes", "2", "--site", str(site), "--address", str(cluster.dashboard)]
        self.job = JobFolder(gavt("submit", *words)["folder"])

    def records(self, name: str = "metrics") -> list[dict]:
        """What the run has recorded."""
        file = self.run / f"{name}.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def a_rank(self, attempt: int) -> psutil.Process:
        """The process of a rank in an attempt, when there is one."""
        wait_until(lambda: len(self.job.attempts()) == attempt or self.job.outcome, 120)
        found: list[psutil.Process] = []

        def look() -> bool:
            processes = psutil.process_iter(["cmdline", "name"])
            found[:] = [one for one in processes if _is_rank(one.info["cmdline"], one.info["name"], self.job.url)]
            return bool(found)

        wait_until(look, 60)
        return found[0]

    def reach(self, step: int) -> None:
        """Wait until it has done so many steps."""
        wait_until(lambda: (self.records() or [{"step": 0}])[-1]["step"] >= step or self.job.outcome, 300)
        assert self.job.outcome is None

    def finish(self) -> Curve:
        """Wait until it is done; its curve."""
        wait_until(lambda: self.job.outcome is not None, 600)
        assert self.job.outcome.ending == "done", self.job.outcome
        return curve(self.run)


def _is_rank(words: list[str] | None, name: str, job: str) -> bool:
    """Whether a process is one of the job's ranks, and not what forks them."""
    words = words or []
    forks = "cluster.fork_server" in words and not name.startswith("rank ")
    return not forks and "jobs.cli" in words and any(word.startswith(job) for word in words)


def gavt(*words: str) -> dict:
    """What a verb prints as JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "jobs.cli", *words, "--json"], capture_output=True, text=True, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
