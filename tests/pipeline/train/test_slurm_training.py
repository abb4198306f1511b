"""Training on real Slurm, disturbed in every way that a site has: the curve is that of an undisturbed run."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from cluster.job_folder import JobFolder
from jobs.local.slurm import SlurmCluster
from kept_runs import keep_run
from pipeline.train.run.job_goodput import job_goodput
from small_job import ODD, wait_until
from tiny_training import Command, curve

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
GROUP = "two ranks"
WORDS = ("train.steps=40", "train.log_every=1", "train.checkpoint_every=8", "train.validate_every=20")


class Submitted:
    """A training on Slurm, submitted by the command."""

    def __init__(self, command: Command, run: Path, *options: str, before_s: int = 60) -> None:
        (command.folder / "site.yaml").write_text(f"slurm: {{signal_before_s: {before_s}}}\n")
        self.run = run
        words = ["train", str(command.config), "--run", str(run), *WORDS, "--to", "slurm", "--nodes", "2"]
        self.begun = time.time()
        self.job = JobFolder(_gavt("submit", *words, "--site", str(command.folder / "site.yaml"), *options)["folder"])

    @property
    def id(self) -> str:
        return self.job.submissions()[-1].id

    def step(self) -> int:
        """The newest step in the run's records."""
        records = self.run / "metrics.jsonl"
        lines = records.read_text().splitlines() if records.exists() else []
        return int(json.loads(lines[-1])["step"]) if lines else 0

    def reach(self, step: int) -> None:
        wait_until(lambda: self.step() >= step or self.job.outcome, 300)

    def finish(self) -> list[tuple[float, ...]]:
        """Wait until it is done; its curve."""
        wait_until(lambda: self.job.outcome is not None, 600)
        assert self.job.outcome.ending == "done", self.job.outcome
        return curve(self.run)


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture(scope="module")
def undisturbed(command: Command, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[float, ...]]:
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    command.finish(run, *WORDS, "--nproc", "2")
    keep_run(run, GROUP)
    return curve(run)


def test_requeued_timed_out_and_robbed_of_a_node_it_follows_the_undisturbed_curve(
    slurm: SlurmCluster, command: Command, tmp_path: Path, undisturbed: list[tuple[float, ...]]
) -> None:
    training = Submitted(command, tmp_path / "run", "--time", "10m")
    training.reach(5)
    subprocess.run(["scontrol", "requeue", training.id], check=True)
    wait_until(lambda: len(training.job.attempts()) == 2, 120)
    training.reach(14)
    # as Slurm does before the end of the time
    subprocess.run(["scancel", "--signal=USR2", training.id], check=True)
    wait_until(lambda: len(training.job.attempts()) == 3, 180)
    training.reach(24)
    slurm.kill_slurmd("node2")  # its ranks live on
    subprocess.run(["scontrol", "update", "nodename=node2", "state=down", "reason=lost"], check=True)
    wait_until(lambda: "node2" not in slurm.command("squeue", "-h", "-t", "R", "-o", "%N"), 60)
    slurm.kill_node("node2")
    slurm.start_node("node2")  # with which it is up again
    assert training.finish() == undisturbed
    keep_run(training.run, GROUP, "Slurm: requeued, told by USR2, node lost")
    codes = [attempt.exit_code for attempt in training.job.attempts()]
    assert codes[:2] == [75, 75]
    assert codes[-1] == 0
    assert {attempt.id for attempt in training.job.attempts()} == {training.id}


def test_what_its_time_runs_out_on_saves_before_and_goes_on(
    slurm: SlurmCluster, command: Command, tmp_path: Path
) -> None:
    """Slurm's shortest time, a minute, of which the ranks are told 25 s before its end."""
    words = ("train.steps=250", "train.log_every=10", "train.checkpoint_every=100", "train.validate_every=250")
    command.finish(tmp_path / "undisturbed", *WORDS, *words, "--nproc", "2")
    keep_run(tmp_path / "undisturbed", f"{GROUP}, longer")
    training = Submitted(command, tmp_path / "run", "--time", "1", *words, before_s=25)
    assert training.finish() == curve(tmp_path / "undisturbed")
    keep_run(training.run, f"{GROUP}, longer", "Slurm: time has run out")
    codes = [attempt.exit_code for attempt in training.job.attempts()]
    assert codes == [75] * (len(codes) - 1) + [0]
    assert len(codes) > 1


def test_cancelled_by_a_site_for_others_it_follows_the_undisturbed_curve(
    slurm: SlurmCluster, command: Command, tmp_path: Path, undisturbed: list[tuple[float, ...]]
) -> None:
    notes = f"train.wandb.notes={json.dumps(ODD)}"
    training = Submitted(command, tmp_path / "a r'un;$(touch x)\"", "--partition", "cancelled", notes)
    training.reach(15)
    subprocess.run(["srun", "--partition=urgent", "--nodes=2", "--exclusive", "true"], check=True, timeout=120)
    assert training.finish() == undisturbed
    keep_run(training.run, GROUP, "Slurm: cancelled for others, chained")
    assert [attempt.exit_code for attempt in training.job.attempts()] == [75, 0]
    assert yaml.safe_load((training.run / "config.yaml").read_text())["train"]["wandb"]["notes"] == ODD


def test_interrupted_once_an_hour_97_percent_of_its_time_is_training_and_validation(
    slurm: SlurmCluster, command: Command, tmp_path: Path
) -> None:
    """Interrupted more often than that, it says what each interruption costs, and what all else does."""
    larger = ("model.width=96", "model.layers=4", "train.batch_size=32", "data.workers=1", "train.log_every=10")
    training = Submitted(command, tmp_path / "run", *larger, "train.steps=240", "train.checkpoint_every=60")
    for attempt, step in ((2, 60), (3, 120), (4, 180)):
        training.reach(step)
        subprocess.run(["scontrol", "requeue", training.id], check=True)
        wait_until(lambda attempt=attempt: len(training.job.attempts()) == attempt, 120)
    training.finish()
    found = job_goodput(str(training.run))
    assert found is not None
    print("\n" + "\n".join(_run("status", training.job.url).stdout.splitlines()[-2:]))
    assert found.attempts == 4
    assert found.with_attempts_of(3600) >= 0.97
    assert found.shares()["the rest"] < 0.05


def test_what_is_wrong_is_said_before_anything_is_queued(slurm: SlurmCluster, command: Command, tmp_path: Path) -> None:
    words = ("train", str(command.config), "--run", str(tmp_path / "run"), "--to", "slurm")
    for more, sentence in (
        (("--partition", "gpus"), "--partition: expected cancelled or main or urgent, found 'gpus'"),
        (("--gpus-per-node", "8", "--nproc", "2"), "--gpus-per-node: expected at most 2, which a machine has, found 8"),
        (("train.stps=3",), "did you mean 'steps'?"),
        (("data.train=https://name:secret@host/x",), "a word of the command holds a secret"),
    ):
        done = _run("submit", *words, *more)
        assert done.returncode == 2
        assert sentence in done.stderr
        assert "Traceback" not in done.stderr
    assert slurm.command("squeue", "-h", "-t", "all", "-n", "train") == ""
    assert not (tmp_path / "run").exists()


def _gavt(*words: str) -> dict[str, str]:
    done = _run(*words, "--json")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _run(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "jobs.cli", *words], capture_output=True, text=True, env=os.environ)
