"""Jobs on a real Slurm cluster of two nodes: attempts, preemption, lost ranks, the queue's words."""

import contextlib
import os
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from cluster import storage
from cluster.errors import JobError
from cluster.job_folder import JOB_FILE, JobFolder
from cluster.launchers.contract import Phase
from cluster.launchers.slurm import SlurmLauncher
from cluster.site_settings import SiteSettings, SlurmSite
from jobs.cli import main
from jobs.local.slurm import SlurmCluster
from small_job import (
    COUNTED,
    ODD,
    OF_ANOTHER_JOB,
    SECRETS,
    TELLS,
    commands,
    files_with_secrets,
    finished,
    small_job,
    submitted,
    told,
    wait_until,
)

LAUNCHER = SlurmLauncher()
TWO_NODES = {"nodes": 2, "processes_per_node": 2}
SAVES = (
    COUNTED
    + """
import signal, time
def save(number, frame):
    (folder / f"saved-{rank}").write_text(str(number))
    if rank == "0":
        done = folder / "done"
        done.write_text(str(int(done.read_text() or 0) + 1 if done.exists() else 1))
    sys.exit(75)
signal.signal(signal.SIGTERM, save)
signal.signal(signal.SIGUSR2, save)
(folder / f"ready-{rank}-{number}").touch()
time.sleep(100 if number == 1 else 0)
"""
)
"""Its first attempt waits to be asked to leave, the second is done."""


@pytest.fixture(autouse=True)
def _work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORK", "")  # removed again after the test


def slurm_job(work: Path, code: str, **fields: object) -> JobFolder:
    fields = {"resources": TWO_NODES, **fields}
    return submitted(LAUNCHER, small_job(work, code, place="slurm", **fields))


def ready(work: Path, ranks: int = 4, attempt: int = 1) -> None:
    wait_until(lambda: len(list(work.glob(f"ready-*-{attempt}"))) == ranks)


def test_ranks_of_two_nodes_know_each_other_and_get_all_as_it_is_and_no_secret_is_seen(
    slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever submits; they have a log each."""
    for name, value in {**OF_ANOTHER_JOB, **SECRETS}.items():
        monkeypatch.setenv(name, value)
    code = """
import os, pathlib, time
from cluster.job_environment import JobEnvironment
job = JobEnvironment.of_this_process()
print(job.rank, job.world_size, job.local_rank, job.local_world_size, job.main.host)
assert job.attempt == 0 and not job.launcher_keeps_store and "WANDB_SERVICE" not in os.environ
pathlib.Path(f"ready-{job.rank}-1").touch()
while not os.path.exists("seen"):
    time.sleep(0.05)
"""
    work = tmp_path / "a b;$(touch x)'\"%j"
    site = SiteSettings(environment={"SAID": ODD})
    job = slurm_job(work, "", words=(TELLS + code, ODD), site=site)
    ready(work)
    shown = commands() + slurm.command("scontrol", "--details", "show", "job", job.submissions()[0].id)
    (work / "seen").touch()
    assert finished(LAUNCHER, job).outcome.ending == "done", LAUNCHER.logs(job)
    logs = [Path(job.log_url(1, rank)).read_text().splitlines() for rank in job.ranks(1)]
    assert logs == [[told(work), f"{rank} 4 {rank % 2} 2 node1"] for rank in range(4)]
    assert job.attempts()[0].nodes == ("node1", "node2")
    assert job.name in shown
    assert [secret for secret in SECRETS.values() if secret in shown] == []
    assert files_with_secrets(job.url) == []
    # Slurm keeps the environment with which it is to start the job again to itself
    assert [file for file in files_with_secrets(slurm.root) if file.stat().st_mode & 0o077] == []
    assert not [path for path in tmp_path.rglob("*") if path.name == "x"]


def test_a_requeued_job_saves_and_goes_on_under_its_number(slurm: SlurmCluster, tmp_path: Path) -> None:
    job = slurm_job(tmp_path, SAVES)
    ready(tmp_path)
    assert LAUNCHER.state(job).phase == Phase.RUNNING
    subprocess.run(["scontrol", "requeue", job.submissions()[0].id], check=True)
    assert finished(LAUNCHER, job).outcome.ending == "done"
    assert [(one.exit_code, one.reached) for one in job.attempts()] == [(75, 1), (0, 1)]
    assert len({one.id for one in job.attempts()}) == 1
    assert len(list(tmp_path.glob("saved-*"))) == 4


def test_a_rank_that_is_killed_has_all_start_again_in_the_same_allocation(slurm: SlurmCluster, tmp_path: Path) -> None:
    job = slurm_job(tmp_path, SAVES)
    ready(tmp_path)
    rank = next(
        one
        for one in psutil.process_iter()
        if _variable(one, "SLURM_PROCID") == "3" and _variable(one, "WORK") == str(tmp_path)
    )
    rank.send_signal(signal.SIGKILL)
    assert finished(LAUNCHER, job).outcome.ending == "done"
    assert [one.exit_code for one in job.attempts()] == [137, 0]
    assert len(job.submissions()) == 1


@pytest.mark.slow  # the queue takes half a minute
def test_where_the_site_cancels_what_it_preempts_a_job_that_follows_goes_on(
    slurm: SlurmCluster, tmp_path: Path
) -> None:
    job = slurm_job(tmp_path, SAVES, resources=TWO_NODES | {"partition": "cancelled"})
    ready(tmp_path)
    subprocess.run(
        ["srun", "--partition=urgent", "--nodes=2", "--exclusive", "true"], check=True, env=os.environ, timeout=60
    )
    assert finished(LAUNCHER, job).outcome.ending == "done"
    assert [one.exit_code for one in job.attempts()] == [75, 0]
    first, second = (one.id for one in job.attempts())
    assert first != second
    assert [note.reason for note in job.submissions()] == ["submit", "chain", "chain"]
    assert slurm.command("squeue", "--noheader", "--state=PD") == ""


@pytest.mark.slow  # the queue takes half a minute
def test_what_does_not_leave_in_time_when_others_need_the_machines_goes_on_and_is_not_given_up(
    slurm: SlurmCluster, tmp_path: Path
) -> None:
    code = COUNTED + (
        "import signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "(folder / f'ready-{rank}-{number}').touch()\n"
        "time.sleep(100 if number == 1 else 0)\n"
    )
    job = slurm_job(tmp_path, code, attempts=1)
    ready(tmp_path)
    subprocess.run(["srun", "--partition=urgent", "--nodes=2", "--exclusive", "true"], check=True, timeout=90)
    assert finished(LAUNCHER, job).outcome.ending == "done", LAUNCHER.logs(job)
    assert [one.exit_code for one in job.attempts()] in ([75, 0], [None, 0])
    assert len(job.submissions()) == 1


@pytest.mark.slow  # Slurm's shortest time is a minute
def test_what_does_not_leave_before_its_time_has_run_out_goes_on_in_a_job_that_follows(
    slurm: SlurmCluster, tmp_path: Path
) -> None:
    code = COUNTED + (
        "import signal, time\n"
        "for one in (signal.SIGTERM, signal.SIGUSR2):\n"
        "    signal.signal(one, signal.SIG_IGN)\n"
        "(folder / f'ready-{rank}-{number}').touch()\n"
        "time.sleep(200 if number == 1 else 0)\n"
    )
    site = SiteSettings(slurm=SlurmSite(signal_before_s=20))
    job = slurm_job(tmp_path, code, resources=TWO_NODES | {"time_s": 60}, site=site)
    assert finished(LAUNCHER, job, 300).outcome.ending == "done", LAUNCHER.logs(job)
    assert [note.reason for note in job.submissions()] == ["submit", "chain"]
    assert [one.exit_code for one in job.attempts()] in ([75, 0], [None, 0])  # None: killed with all that watched it


def test_a_cancelled_job_leaves_the_queue_and_does_not_start_again(slurm: SlurmCluster, tmp_path: Path) -> None:
    job = slurm_job(tmp_path, SAVES)
    ready(tmp_path)
    job.end("cancelled", "by gavt cancel")
    LAUNCHER.cancel(job)
    wait_until(lambda: LAUNCHER.state(job).phase == Phase.GONE)
    assert len(job.attempts()) == 1
    assert (tmp_path / "saved-0").exists()


@pytest.mark.slow  # Ray takes 20 s to start
def test_what_has_no_ranks_runs_once_beside_a_ray_cluster_of_all_nodes(slurm: SlurmCluster, tmp_path: Path) -> None:
    code = """
import os, ray
ray.init(address="auto", log_to_driver=False)
print(sum(node["Alive"] for node in ray.nodes()), "SLURM_PROCID", os.environ["SLURM_PROCID"], flush=True)
"""
    job = slurm_job(tmp_path, code, ranked=False, resources={"nodes": 2})
    finished(LAUNCHER, job, 200)
    log = Path(job.log_url(1, 0)).read_text()
    assert job.outcome.ending == "done", log
    assert "2 SLURM_PROCID 0\n" in log
    secrets = [file for file in Path(job.url).rglob("*") if file.is_file() and "RAY_AUTH_TOKEN" in file.read_text()]
    assert secrets == []


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"partition": "gpus"}, r"--partition: expected cancelled or main or urgent, found 'gpus'"),
        ({"gpus_per_node": 8}, "--gpus-per-node: expected at most 2, which a machine has, found 8"),
        ({"nodes": 3}, "--nodes: expected at most 2, which the partition has, found 3"),
    ],
)
def test_what_the_cluster_has_not_is_refused_before_anything_is_queued(slurm, tmp_path, asked, sentence) -> None:
    record = small_job(tmp_path, "", place="slurm", resources=asked).record
    with pytest.raises(JobError, match=sentence):
        LAUNCHER.check(record)
    assert slurm.command("squeue", "--noheader", "--name", record.name) == ""


@pytest.mark.parametrize(
    ("site", "sentence"),
    [
        ({"environment": {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "GAVT_STORAGE_PATIENCE_S": "1"}}, "gave up after"),
        ({"setup": ["unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY"]}, "credentials"),
    ],
    ids=["endpoint", "credentials"],
)
def test_a_job_whose_nodes_have_no_access_to_its_storage_ends_with_a_sentence_and_goes_on_once_they_have(
    slurm, s3_bucket, tmp_path, monkeypatch, capsys, site, sentence
) -> None:
    job = small_job(tmp_path, "", place="slurm", folder=f"{s3_bucket}/run", resources=TWO_NODES, site=site)
    submitted(LAUNCHER, job)
    wait_until(lambda: LAUNCHER.state(job).phase == Phase.GONE, 60)
    assert (job.outcome, job.attempts()) == (None, [])
    (said,) = LAUNCHER.logs(job).strip().splitlines()
    assert said.startswith(f"gavt: {job.url}/job.json: ")
    assert sentence in said
    for verb in ("status", "logs"):
        with contextlib.suppress(SystemExit):
            main([verb, job.url])
        assert said in capsys.readouterr().out
    record = job.record.model_copy(update={"site": SiteSettings()})
    storage.write_text(storage.join(job.url, JOB_FILE), record.model_dump_json())
    job = JobFolder(job.url)
    job.note_submission(LAUNCHER.submit(job), "resume", 0)
    assert finished(LAUNCHER, job).outcome.ending == "done"


def test_a_job_that_the_queue_forgot_is_gone_and_one_that_nobody_can_ask_about_is_not(slurm, tmp_path, monkeypatch):
    job = small_job(tmp_path, "", place="slurm")
    job.note_submission("987654", "submit", 0)
    assert LAUNCHER.state(job).phase == Phase.GONE
    configuration = Path(slurm.environment()["SLURM_CONF"]).read_text()
    (tmp_path / "slurm.conf").write_text(configuration.replace("SlurmctldPort=", "MessageTimeout=2\nSlurmctldPort=1"))
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))
    assert LAUNCHER.state(job).phase == Phase.UNKNOWN


def _variable(process: psutil.Process, name: str) -> str | None:
    try:
        return process.environ().get(name)
    except psutil.Error:
        return None
