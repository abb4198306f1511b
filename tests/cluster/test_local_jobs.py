"""Jobs on this machine: their attempts, their logs, their end."""

import json
import os
import signal
from pathlib import Path

import pytest

from cluster.errors import JobError
from cluster.job_folder import JobFolder
from cluster.job_records import Attempt, now
from cluster.launchers import attempt
from cluster.launchers.contract import Phase
from cluster.launchers.local import LocalLauncher, run_here
from cluster.site_settings import SiteSettings
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

LAUNCHER = LocalLauncher()
GOES_ON = (
    COUNTED
    + """
if rank == "0":
    (folder / "done").write_text(f"step-{number:04}")
sys.exit(75 if number < 5 else 0)
"""
)


@pytest.fixture(autouse=True)
def _work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORK", "")  # removed again after the test


def test_a_job_that_leaves_to_go_on_is_started_again_as_long_as_there_is_progress(tmp_path: Path) -> None:
    job = submitted(LAUNCHER, small_job(tmp_path, GOES_ON, attempts=2, resources={"processes_per_node": 2}))
    assert finished(LAUNCHER, job).outcome.ending == "done"
    assert [(one.exit_code, one.reached_before, one.reached) for one in job.attempts()] == [
        (75, 0, 1),
        (75, 1, 2),
        (75, 2, 3),
        (75, 3, 4),
        (0, 4, 5),
    ]
    assert job.ranks(3) == [0, 1]
    assert Path(job.log_url(3, 1)).read_text().endswith("of rank 1\n")


def test_ranks_get_all_as_it_is_and_nothing_of_another_job_whose_process_submits_and_no_secret_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**OF_ANOTHER_JOB, **SECRETS}.items():
        monkeypatch.setenv(name, value)
    code = """
import os, pathlib, time
from cluster.job_environment import JobEnvironment
job = JobEnvironment.of_this_process()
print(job.rank, job.local_rank, job.world_size, job.local_world_size, job.attempt, job.launcher_keeps_store)
assert "WANDB_SERVICE" not in os.environ and os.environ["MASTER_PORT"] != "1"
pathlib.Path(f"ready-{job.rank}").touch()
while not os.path.exists("seen"):
    time.sleep(0.05)
"""
    work = tmp_path / "a b;$(touch x)'\"%j\nc"
    given = {"words": (TELLS + code, ODD), "site": SiteSettings(environment={"SAID": ODD})}
    job = submitted(LAUNCHER, small_job(work, "", resources={"processes_per_node": 2}, **given))
    wait_until(lambda: len(list(work.glob("ready-*"))) == 2)
    shown = commands()
    (work / "seen").touch()
    said = [Path(finished(LAUNCHER, job).log_url(1, rank)).read_text().splitlines() for rank in (0, 1)]
    assert said == [[told(work), f"{rank} {rank} 2 2 0 False"] for rank in (0, 1)]
    assert job.name in shown
    assert [secret for secret in SECRETS.values() if secret in shown] == []
    assert files_with_secrets(job.url) == []
    assert not [path for path in tmp_path.rglob("*") if path.name == "x"]


@pytest.mark.parametrize("code", [75, 1])
def test_attempts_without_progress_end_in_giving_up_and_resume_counts_anew(tmp_path: Path, code: int) -> None:
    job = submitted(LAUNCHER, small_job(tmp_path, f"import sys; sys.exit({code})", attempts=2))
    assert finished(LAUNCHER, job).outcome.ending == "given up"
    assert len(job.attempts()) == 2
    job.reopen()
    job.note_submission(LAUNCHER.submit(job), "resume", 2)
    assert finished(LAUNCHER, job).outcome.ending == "given up"
    assert len(job.attempts()) == 4


def test_wrong_input_ends_a_job_at_once(tmp_path: Path) -> None:
    code = "import sys; print('gavt: x.yaml: no such file s3://me:hush@b/x', flush=True); print('Bye'); sys.exit(2)"
    job = finished(LAUNCHER, submitted(LAUNCHER, small_job(tmp_path, code)))
    assert (job.outcome.ending, job.outcome.why) == ("failed", "x.yaml: no such file s3://***@b/x")
    assert len(job.attempts()) == 1


def test_a_cancelled_job_may_save_and_does_not_start_again(tmp_path: Path) -> None:
    code = (
        COUNTED
        + """
import signal, time
def save(*_):
    (folder / "saved").touch()
    sys.exit(75)
signal.signal(signal.SIGTERM, save)
(folder / "ready").touch()
time.sleep(60)
"""
    )
    job = submitted(LAUNCHER, small_job(tmp_path, code))
    wait_until((tmp_path / "ready").exists)
    assert LAUNCHER.state(job).phase == Phase.RUNNING
    job.end("cancelled", "by gavt cancel")
    LAUNCHER.cancel(job)
    assert LAUNCHER.state(job).phase == Phase.GONE
    assert (tmp_path / "saved").exists()
    assert len(job.attempts()) == 1


def test_a_job_whose_watcher_was_killed_is_stopped_and_its_next_attempt_knows(tmp_path: Path) -> None:
    code = COUNTED + (
        "(folder / 'begun').touch()\n"
        "import time; time.sleep(60 if number == 1 else 0)\n"
        "if number in (2, 3):\n"
        "    print('gavt: run: process 5 on node7 trains in it')\n"
        "    sys.exit(77)\n"
    )
    job = submitted(LAUNCHER, small_job(tmp_path, code, attempts=2))
    wait_until((tmp_path / "begun").exists)
    os.kill(int(job.submissions()[-1].id.partition("@")[0]), signal.SIGKILL)
    wait_until(lambda: LAUNCHER.state(job).phase == Phase.GONE)
    job.note_submission(LAUNCHER.submit(job), "resume", 1)
    # what is left of the first may be what the others found in use: that is waited for, and does not count
    assert finished(LAUNCHER, job).outcome.ending == "done"
    assert [one.exit_code for one in job.attempts()] == [None, 77, 77, 0]
    assert job.attempts()[1].said == "run: process 5 on node7 trains in it"


def test_a_job_that_waits_for_an_hour_for_who_holds_its_work_is_given_up(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(attempt, "_IN_USE_S", 0)
    job = small_job(tmp_path, "import sys; print('gavt: run: process 5 on node7 trains in it'); sys.exit(77)")
    hangup = signal.getsignal(signal.SIGHUP)
    run_here(job)
    signal.signal(signal.SIGHUP, hangup)  # which a job's process does not heed
    assert job.outcome.ending == "given up"
    assert "process 5 on node7 trains in it; it was waited for" in job.outcome.why


@pytest.mark.timeout(30)
def test_who_waits_for_work_that_is_in_use_leaves_when_it_is_asked(tmp_path: Path) -> None:
    job = small_job(tmp_path, "")
    for number in range(1, 41):  # so that it would wait for a minute
        begun = Attempt(number=number, id="1", nodes=("a",), began=now(), reached_before=0, ended=now(), exit_code=77)
        job.write_attempt(begun)
    asked = iter([False, False, True])
    attempt.rest(job, lambda: next(asked))
    assert list(asked) == []


def test_a_second_job_on_the_same_folder_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    first = small_job(tmp_path, "")
    with pytest.raises(
        JobError, match=r"train-small works on it and has not ended; see gavt status .*/jobs/train-small"
    ):
        small_job(tmp_path, "", name="train-second")
    first.end("cancelled", "enough")
    assert small_job(tmp_path, "", name="train-second").name == "train-second"


def test_another_users_job_folder_is_refused(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give folders away")
    (tmp_path / "jobs").mkdir()
    os.chown(tmp_path / "jobs", 12345, 12345)
    with pytest.raises(JobError, match="expected a folder of yours, found one of another user"):
        small_job(tmp_path, "")
    assert list((tmp_path / "jobs").iterdir()) == []


def test_a_job_folder_on_s3_has_the_ranks_logs(s3_bucket: str, tmp_path: Path) -> None:
    job = small_job(tmp_path, COUNTED, folder=f"{s3_bucket}/run")
    assert finished(LAUNCHER, submitted(LAUNCHER, job)).outcome.ending == "done"
    again = JobFolder(job.url)
    assert again.record == job.record
    assert again.ranks(1) == [0]
    assert "attempt" not in LAUNCHER.logs(job)


def test_a_damaged_job_file_is_a_sentence_that_names_it(tmp_path: Path) -> None:
    job = small_job(tmp_path, "")
    file = Path(job.url) / "job.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"attempts": "many"}))
    with pytest.raises(JobError, match=r"job\.json: attempts: "):
        JobFolder(job.url)
