"""Training on a real Ray cluster that loses nodes, and its head: the curve is that of an undisturbed run."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import psutil
import pytest

from cluster.job_folder import JobFolder
from cluster.launchers.ray import RayLauncher
from jobs.local.ray_cluster import RayCluster
from kept_runs import keep_run
from ray_cluster_with_jobs import ray_cluster_with_jobs
from small_job import wait_until
from tiny_training import Command, curve

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
WORDS = (
    *("train.steps=60", "train.log_every=1", "train.checkpoint_every=8", "train.validate_every=20"),
    # what dropout draws and the statistics of one process's samples would depend on the number of processes
    *("model.dropout=0", "model.visual_embedder.norm=sync_batch", "model.audio_embedder.norm=group"),
)
GROUP = "numbers that any number of ranks gives"
SITE = "environment: {OMP_NUM_THREADS: '1'}\nray: {wait_s: 5}\n"
Curve = list[tuple[float, ...]]


class Submitted:
    """A training of two ranks on two nodes, submitted by the command."""

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
            processes = psutil.process_iter(["cmdline"])
            found[:] = [one for one in processes if one.info["cmdline"] and _is_rank(one.info["cmdline"], self.job.url)]
            return bool(found)

        wait_until(look, 60)
        return found[0]

    def reach(self, step: int) -> None:
        wait_until(lambda: (self.records() or [{"step": 0}])[-1]["step"] >= step or self.job.outcome, 300)
        assert self.job.outcome is None

    def finish(self) -> Curve:
        """Wait until it is done; its curve."""
        wait_until(lambda: self.job.outcome is not None, 600)
        assert self.job.outcome.ending == "done", self.job.outcome
        return curve(self.run)


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def cluster() -> Iterator[RayCluster]:
    with ray_cluster_with_jobs(cpus=1, nodes=2, variables={"WANDB_MODE": "disabled"}) as started:
        yield started


@pytest.fixture(scope="module")
def undisturbed(command: Command, tmp_path_factory: pytest.TempPathFactory) -> Curve:
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    command.finish(run, *WORDS, "--nproc", "2")
    keep_run(run, GROUP)
    return curve(run)


def test_with_fewer_nodes_and_then_with_all_again_it_follows_the_undisturbed_curve(
    cluster: RayCluster, command: Command, tmp_path: Path, undisturbed: Curve
) -> None:
    training = Submitted(command, tmp_path / "run", cluster)
    training.reach(11)
    cluster.kill_node(1)
    alone = training.a_rank(2)
    training.reach(20)
    alone.suspend()  # else it may be done before the node is there
    cluster.start_node()
    wait_until(lambda: "more nodes are there" in RayLauncher().logs(training.job), 120)
    alone.resume()
    found = training.finish()
    keep_run(training.run, GROUP, "Ray: node lost, one rank, two again")
    attempts = training.job.attempts()
    assert [(one.exit_code, one.excused, len(one.nodes)) for one in attempts] == [
        (None, True, 2),
        (75, True, 1),
        (0, False, 2),
    ]
    changes = [event for event in training.records("events") if event["event"] == "resume"]
    assert [event["changed"].get("world_size") for event in changes] == [{"from": 2, "to": 1}, {"from": 1, "to": 2}]
    fewer_from = changes[0]["step"]
    assert fewer_from >= 8
    assert found[:fewer_from] == undisturbed[:fewer_from]
    # sums in another order
    assert [row[0] for row in found] == [row[0] for row in undisturbed]
    assert [row[1] for row in found] == pytest.approx([row[1] for row in undisturbed], rel=1e-4)
    assert [row[5] for row in found if row[5]] == pytest.approx([row[5] for row in undisturbed if row[5]], rel=1e-4)


def test_where_the_head_was_lost_resume_at_another_cluster_follows_the_undisturbed_curve(
    cluster: RayCluster, command: Command, tmp_path: Path, undisturbed: Curve
) -> None:
    training = Submitted(command, tmp_path / "run", cluster)
    training.reach(11)
    cluster.kill_node(0)  # the other node, and the rank there, live on for a while
    with ray_cluster_with_jobs(cpus=1, nodes=2, variables={"WANDB_MODE": "disabled"}) as another:
        assert gavt("status", str(training.run))["state"] == "unknown"
        gavt("resume", str(training.run), "--address", str(another.dashboard))
        assert training.finish() == undisturbed
    keep_run(training.run, GROUP, "Ray: head lost, resumed on another")
    attempts = training.job.attempts()
    assert (attempts[0].exit_code, attempts[-1].exit_code) == (None, 0)
    assert len({one.id for one in attempts}) == 2


def test_the_first_step_comes_30_s_after_submitting_beyond_rays_own_time_and_a_restart_takes_15_s(
    cluster: RayCluster, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = time.time()
    training = Submitted(command, tmp_path / "run", cluster, "train.steps=2000")
    submitted = time.time()
    training.reach(11)
    killed = time.time()
    training.a_rank(1).kill()
    wait_until(lambda: len(training.records("events")) and training.records("events")[-1]["event"] == "resume", 120)
    training.reach(training.records("events")[-1]["step"] + 1)
    gavt("cancel", str(training.run))
    first, second = (datetime.fromisoformat(one.began).timestamp() for one in training.job.attempts()[:2])
    steps = [record["time"] for record in training.records()]
    to_first = submitted - begun + min(steps) - first
    restart = min(step for step in steps if step > second) - killed
    with capsys.disabled():
        print(
            f"\nload {os.getloadavg()[0]:.0f}: to the first step {to_first:.1f} s, and {first - submitted:.1f} s in "
            f"which Ray started; from a rank's death to the next step {restart:.1f} s"
        )
    assert to_first <= 30
    assert restart <= 15


def _is_rank(words: list[str], job: str) -> bool:
    return "jobs.cli" in words and any(word.startswith(job) for word in words)


def gavt(*words: str) -> dict:
    done = subprocess.run(
        [sys.executable, "-m", "jobs.cli", *words, "--json"], capture_output=True, text=True, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
