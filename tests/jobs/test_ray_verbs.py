"""gavt submit prepare and evaluate on a real Ray cluster of two nodes."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from barcode_video import write_video
from cluster.job_folder import JobFolder
from jobs.local.ray_cluster import RayCluster
from pipeline.shards.ledger import read_ledger
from ray_cluster_with_jobs import ray_cluster_with_jobs
from small_job import wait_until
from tiny_run import located_rows, tiny_experiment, write_run, write_shards

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with ray_cluster_with_jobs(cpus=1, nodes=2) as started:
        yield started


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def done(cluster: RayCluster, folder: Path, *words: str) -> JobFolder:
    """The job of a verb, when it is done."""
    command = [sys.executable, "-m", "jobs.cli", "submit", *words, "--to", "ray", "--address", str(cluster.dashboard)]
    said = subprocess.run([*command, "--json"], cwd=folder, capture_output=True, text=True, env=os.environ)
    assert said.returncode == 0, said.stderr
    job = JobFolder(json.loads(said.stdout.splitlines()[-1])["folder"])
    wait_until(lambda: job.outcome, 240)
    log = Path(job.log_url(1, 0))
    assert job.outcome is not None
    assert job.outcome.ending == "done", log.read_text() if log.exists() else "no log"
    return job


def test_prepare_works_on_all_nodes_and_finds_what_is_relative(cluster: RayCluster, tmp_path: Path) -> None:
    names = [f"video{number}.mp4" for number in range(4)]
    for name in names:
        write_video(tmp_path / name, 3)
    (tmp_path / "list.txt").write_text("\n".join(names) + "\n")
    settings = ["min_clip_s=1", "frame_rate_hz=1", "audio_samples=11025", "rows_per_shard=1"]
    words = [word for setting in settings for word in ("-s", f"prepare.{setting}")]
    job = done(cluster, tmp_path, "prepare", "list.txt", "--out", "shards", *words)
    assert [entry.status for entry in read_ledger(str(tmp_path / "shards"))] == ["ok"] * 4
    assert [(one.exit_code, one.reached) for one in job.attempts()] == [(0, 4)]


def test_evaluate_shares_the_work_among_the_ranks_of_all_nodes(cluster: RayCluster, tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "shards", located_rows(8))
    write_run(tmp_path / "run", tiny_experiment(shards, shards))
    words = ["run", "--data", "shards", "--set", "evaluate.readouts=[class_token]", "--nodes", "2"]
    job = done(cluster, tmp_path, "evaluate", *words)
    assert (tmp_path / "run" / "evaluation.json").exists()
    assert job.ranks(1) == [0, 1]
