"""Training that reads from S3 and saves there, while the server is away for a minute or answers nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import storage
from cluster.job_folder import JobFolder
from cluster.launchers.contract import Phase
from cluster.launchers.ray import RayLauncher
from jobs.local import s3
from jobs.local.s3 import S3Server
from kept_runs import keep_run
from pipeline.train.records.metrics_log import read_records
from pipeline.train.run.remote_run import fetch_run
from ray_cluster_with_jobs import ray_cluster_with_jobs
from small_job import small_job, submitted, wait_until
from tiny_training import Command, curve

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
AWAY_S = 60.0
STEPS = ("train.steps=40", "train.log_every=1", "train.checkpoint_every=4", "train.validate_every=20")
RANKS = "2"


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)  # in which a job leaves its log


@pytest.fixture(scope="module")
def undisturbed(command: Command, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[float, ...]]:
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    command.finish(run, *STEPS, "--nproc", RANKS)
    return curve(run)


@pytest.fixture
def run(s3_bucket: str) -> str:
    return f"{s3_bucket}/run"


@pytest.fixture
def words(command: Command, s3_bucket: str, run: str) -> list[str]:
    """Of a training that asks S3 for each of its samples, again in each epoch."""
    for split in ("train", "validation"):
        for file in (command.folder / split).iterdir():
            storage.upload(file, f"{s3_bucket}/shards/{split}/{file.name}")
    data = [f"data.{split}={s3_bucket}/shards/{split}" for split in ("train", "validation")]
    return [str(command.config), *data, "data.cache.gigabytes=0", *STEPS, "--run", run]


@pytest.fixture
def server(s3_server: S3Server) -> Iterator[S3Server]:
    """It answers again after the test, whatever it did."""
    try:
        yield s3_server
    finally:
        if not s3.listens(s3_server.root):
            s3.come_back(s3_server.root)
        s3.thaw(s3_server.root)


def reach(run: str, step: int, process: "subprocess.Popen[str] | None" = None) -> None:
    """Wait for a checkpoint of a step or later."""
    latest = f"{run}/checkpoints/latest"

    def reached() -> bool:
        assert process is None or process.poll() is None, process.stderr and process.stderr.read()
        return storage.exists(latest) and int(storage.read_text(latest).removeprefix("step-")) >= step

    wait_until(reached, 900)


def be_away(server: S3Server) -> None:
    s3.go_away(server.root)
    time.sleep(AWAY_S)
    s3.come_back(server.root)


def found(run: str, tmp_path: Path) -> tuple[list[tuple[float, ...]], list[str]]:
    """The run's curve, and its events."""
    fetch_run(run, tmp_path / "fetched")
    return curve(tmp_path / "fetched"), [one["event"] for one in read_records(tmp_path / "fetched" / "events.jsonl")]


def gavt(*words: str, **variables: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "jobs.cli", *words],
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


class Started:
    """Training by the command itself, or by a job."""

    def __init__(self, way: str, words: list[str], options: tuple[str, ...]) -> None:
        self.way, self.job = way, None
        if not options:
            self.process = gavt("train", *words, "--nproc", RANKS)
            return
        self.process = gavt("submit", "train", *words, *options, "--json")
        said, complaints = self.process.communicate(timeout=600)
        assert self.process.returncode == 0, complaints
        self.job = JobFolder(json.loads(said.splitlines()[-1])["folder"])

    def finish(self) -> None:
        """Wait until it is done, which it is at its first attempt."""
        if self.job is None:
            _, said = self.process.communicate(timeout=900)
            assert self.process.returncode == 0, said
            return
        job = self.job
        wait_until(lambda: job.outcome is not None, 900)
        assert job.outcome is not None
        assert job.outcome.ending == "done", job.outcome
        assert [(one.exit_code, len(one.nodes)) for one in job.attempts()] == [(0, int(RANKS))]


@pytest.fixture(params=["a training", "a job on Slurm", "a job on Ray"])
def training(request: pytest.FixtureRequest, server: S3Server, words: list[str], tmp_path: Path) -> Iterator[Started]:
    """It has begun: two ranks on this machine, or on two nodes of a cluster."""
    nodes = ("--nodes", RANKS)
    if request.param == "a job on Ray":
        (tmp_path / "site.yaml").write_text("environment: {OMP_NUM_THREADS: '1'}\n")
        variables = {"WANDB_MODE": "offline", **server.environment()}
        with ray_cluster_with_jobs(cpus=1, nodes=2, variables=variables) as cluster:
            options = (
                "--to",
                "ray",
                *nodes,
                "--address",
                str(cluster.dashboard),
                "--site",
                str(tmp_path / "site.yaml"),
            )
            yield Started(request.param, words, options)
    elif request.param == "a job on Slurm":
        request.getfixturevalue("slurm")
        yield Started(request.param, words, ("--to", "slurm", *nodes))
    else:
        yield Started(request.param, words, ())


def test_a_minute_without_the_server_costs_nothing(
    training: Started, server: S3Server, run: str, tmp_path: Path, undisturbed: list[tuple[float, ...]]
) -> None:
    reach(run, 8, training.process if training.job is None else None)
    be_away(server)
    training.finish()
    ours, events = found(run, tmp_path)
    keep_run(run, "two ranks", f"{training.way}, and S3 away for a minute")
    assert ours == undisturbed
    assert "resume" not in events


def test_a_job_on_ray_whose_nodes_have_no_access_to_its_storage_says_so_and_loses_nothing(
    server: S3Server, run: str, tmp_path: Path
) -> None:
    given = server.environment()
    endpoint = {"AWS_ENDPOINT_URL": given["AWS_ENDPOINT_URL"]}
    with (
        ray_cluster_with_jobs(cpus=1, nodes=1, variables=endpoint) as cluster,
        pytest.MonkeyPatch.context() as patch,  # taken back before the cluster's own variables are
    ):
        for name, value in given.items():
            patch.setenv(name, value)
        launcher = RayLauncher(cluster.dashboard)
        job = submitted(launcher, small_job(tmp_path / "work", "", place="ray", folder=run))
        wait_until(lambda: launcher.state(job).phase == Phase.GONE, 120)
        said = launcher.logs(job).strip().splitlines()[-1]
        assert said.startswith(f"gavt: {job.url}/job.json: ")
        assert "credentials" in said
        assert (job.outcome, job.attempts()) == (None, [])
        state = json.loads(gavt("status", job.url, "--json").communicate()[0].splitlines()[-1])
        assert (state["state"], said.removeprefix("gavt: ") in state["detail"]) == ("stopped", True)


def test_a_server_that_answers_nothing_as_a_run_goes_on_is_waited_for_as_long_as_patience_says(
    server: S3Server, words: list[str], run: str, tmp_path: Path, undisturbed: list[tuple[float, ...]]
) -> None:
    process = gavt("train", *words, "--nproc", RANKS)
    reach(run, 8, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    s3.freeze(server.root)
    impatient = gavt("train", *words, "--nproc", RANKS, GAVT_STORAGE_PATIENCE_S="5")
    _, said = impatient.communicate(timeout=900)
    assert impatient.returncode == 2, said
    (sentence,) = said.splitlines()
    assert sentence.startswith(f"gavt: {run}")
    assert "gave up after" in sentence
    patient = gavt("train", *words, "--nproc", RANKS)
    time.sleep(AWAY_S / 2)
    s3.thaw(server.root)
    _, said = patient.communicate(timeout=900)
    assert patient.returncode == 0, said
    ours, events = found(run, tmp_path)
    assert ours == undisturbed
    assert events.count("resume") == 1
