"""Jobs on a Ray cluster: their ranks, their attempts, their end."""

import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ray._private.authentication_test_utils import reset_auth_token_state

from cluster.errors import JobError
from cluster.job_folder import JobFolder
from cluster.launchers import ray as ray_launcher
from cluster.launchers.contract import Phase, PlaceState
from cluster.launchers.ray import RayLauncher
from cluster.launchers.ray_client import ray_client
from cluster.site_settings import RaySite, SiteSettings
from jobs.local.ray_cluster import RayCluster
from ray_cluster_with_jobs import ray_cluster_with_jobs
from small_job import (
    COUNTED,
    ODD,
    SECRETS,
    TELLS,
    commands,
    files_with_secrets,
    finished,
    small_job,
    story,
    submitted,
    told,
    wait_until,
)

LIFE = (
    COUNTED
    + TELLS
    + """
import time
import cluster, mine
(folder / f"pid-{number}-{rank}").write_text(str(os.getpid()))
if number == 2:
    sys.exit(77)
while number == 1 or len(list(folder.glob(f"pid-{number}-*"))) < 4:
    time.sleep(0.05)
print(*[os.environ.get(name) for name in ("LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")])
print(cluster.__file__, mine.__file__, os.getcwd())
(folder / "done").write_text(f"step-{number:04}")
sys.exit(75 if number < 4 else 0)
"""
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with ray_cluster_with_jobs(cpus=4, variables=SECRETS) as started:
        yield started


@pytest.fixture(autouse=True)
def _work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORK", "")  # removed again after the test


def ray_job(folder: Path, code: str, *words: str, nodes: int = 2, each: int = 1, **fields: Any) -> JobFolder:
    resources = {"nodes": nodes, "processes_per_node": each}
    site = SiteSettings(environment={"WORK": str(folder)})
    # Ray takes no name twice
    record: dict[str, Any] = {"place": "ray", "name": f"train-{folder.name}", "resources": resources, "site": site}
    record["words"] = (code, *words)
    return small_job(folder, code, **record | fields)


@dataclass
class Life:
    """What was seen of a job, which belonged to a cluster that is gone, and was sent to this one with this program: a
    rank of its first attempt was killed, its second found its work in use, its third left, its fourth did the rest."""

    job: JobFolder
    elsewhere: PlaceState
    """Before."""
    running: PlaceState
    """In the first attempt."""
    shown: str
    """Then, to whoever may look at the dashboard or the processes."""


@pytest.fixture(scope="module")
def life(cluster: RayCluster, tmp_path_factory: pytest.TempPathFactory) -> Life:
    folder = tmp_path_factory.mktemp("life")
    launcher = RayLauncher(cluster.dashboard)
    (folder / "mine.py").touch()
    (folder / "data.tar").touch()
    site = SiteSettings(environment={"WORK": str(folder), "SAID": ODD}, ray=RaySite(send=True, also=("mine.py",)))
    job = ray_job(folder, LIFE, ODD, each=2, attempts=2, site=site)
    job.note_submission(f"{job.name}-1@http://127.0.0.1:9", "submit", 0)
    elsewhere = launcher.state(job)
    job.note_submission(launcher.submit(job), "resume", 0)
    begun = [folder / f"pid-1-{rank}" for rank in range(4)]
    wait_until(lambda: all(pid.exists() and pid.read_text() for pid in begun), 90, lambda: story(launcher, job))
    running = launcher.state(job)
    shown = everything_shown(cluster)
    os.kill(int(begun[1].read_text()), signal.SIGKILL)
    return Life(finished(launcher, job), elsewhere, running, shown)


def everything_shown(cluster: RayCluster) -> str:
    """What Ray's REST API says, and the commands of all processes."""
    texts = []
    assert cluster.dashboard is not None
    with ray_client(cluster.dashboard) as client:
        lists = [f"v0/{name}?detail=true" for name in ("actors", "tasks", "runtime_envs", "workers", "jobs", "nodes")]
        for what in ("jobs/", *lists):
            answer = client._do_request("GET", f"/api/{what}")
            assert answer.status_code == 200
            texts.append(answer.text)
    return "\n".join([*texts, commands()])


def test_a_rank_that_is_killed_takes_the_others_with_it_and_all_go_on_as_long_as_there_is_progress(life: Life) -> None:
    assert life.job.outcome is not None
    assert life.job.outcome.ending == "done", RayLauncher().logs(life.job)
    assert [(one.exit_code, one.reached) for one in life.job.attempts()] == [(137, 0), (77, 0), (75, 3), (0, 4)]


def test_ranks_on_all_nodes_are_told_of_each_other_and_get_every_word_and_variable_as_it_is(life: Life) -> None:
    assert life.job.ranks(4) == [0, 1, 2, 3]
    for rank in range(4):
        said = Path(life.job.log_url(4, rank)).read_text().splitlines()
        assert said[:3] == [f"attempt 4 of rank {rank}", told(Path(said[3].split()[-1])), f"{rank % 2} 4 2"]


def test_nodes_work_in_a_folder_of_ray_with_the_program_and_what_was_named(cluster: RayCluster, life: Life) -> None:
    program, mine, working = Path(life.job.log_url(4, 0)).read_text().splitlines()[3].split()
    assert Path(working).is_relative_to(cluster.root / "ray")
    assert (program, mine) == (f"{working}/cluster/__init__.py", f"{working}/mine.py")
    names = {path.name for path in Path(working).iterdir()} - {"__pycache__"}
    assert names == {"cluster", "jobs", "pipeline", "mine.py"}


def test_nodes_are_given_back_while_the_work_is_in_use_and_kept_where_a_rank_was_killed(
    cluster: RayCluster, life: Life
) -> None:
    assert cluster.dashboard is not None
    with ray_client(cluster.dashboard) as client:
        driver = client.status(f"{life.job.name}-2").job_id
        states = [row["state"] for row in client.placement_groups(driver)]
    assert states == ["REMOVED"] * 3  # of attempts 1 and 2, 3, and 4


def test_a_job_of_a_cluster_that_is_gone_is_unknown_and_goes_on_at_another(life: Life) -> None:
    assert life.elsewhere.phase == Phase.UNKNOWN
    assert life.running.phase == Phase.RUNNING
    assert {one.id for one in life.job.attempts()} == {f"{life.job.name}-2"}


def test_an_id_is_not_taken_twice(cluster: RayCluster, life: Life) -> None:
    note = Path(life.job.url) / "submissions" / "0002.json"
    text = note.read_text()
    note.unlink()  # as if somebody else had submitted it just now
    with pytest.raises(JobError, match="takes no id twice"):
        RayLauncher(cluster.dashboard).submit(life.job)
    note.write_text(text)


def test_keys_reach_the_ranks_and_stand_in_no_file_list_or_command(cluster: RayCluster, life: Life) -> None:
    token = (cluster.root / "token").read_text()
    assert life.job.name in life.shown
    assert [secret for secret in (*SECRETS.values(), token) if secret in life.shown] == []
    # Ray's logs are among them
    assert files_with_secrets(cluster.root / "ray", cluster.root / "home", life.job.url, more=(token,)) == []


def test_a_job_waits_for_nodes_begins_with_fewer_and_may_save_when_it_is_cancelled(
    cluster: RayCluster, tmp_path: Path
) -> None:
    code = COUNTED + (
        "import signal, time\n"
        "def save(*_):\n"
        "    time.sleep(4)  # longer than Ray itself lets it\n"
        "    (folder / f'saved-{rank}').touch()\n"
        "    sys.exit(75)\n"
        "signal.signal(signal.SIGTERM, save)\n"
        "(folder / f'ready-{rank}').touch()\n"
        "time.sleep(100)\n"
    )
    launcher = RayLauncher(cluster.dashboard)
    site = SiteSettings(environment={"WORK": str(tmp_path)}, ray=RaySite(wait_s=5))
    job = submitted(launcher, ray_job(tmp_path, code, each=3, site=site))
    waiting = PlaceState(Phase.QUEUED, "waiting for nodes")
    wait_until(lambda: launcher.state(job) == waiting, 60, lambda: story(launcher, job))
    wait_until(lambda: len(list(tmp_path.glob("ready-*"))) == 3, 60, lambda: story(launcher, job))
    assert launcher.state(job).phase == Phase.RUNNING
    job.end("cancelled", "by gavt cancel")
    launcher.cancel(job)
    assert launcher.state(job).phase == Phase.GONE
    assert len(list(tmp_path.glob("saved-*"))) == 3
    assert [(one.exit_code, len(one.nodes)) for one in job.attempts()] == [(75, 1)]


def test_a_job_is_gone_for_certain_where_its_cluster_was_started_anew(cluster: RayCluster, tmp_path: Path) -> None:
    job = ray_job(tmp_path, "")
    job.note_submission(f"{job.name}-1@{cluster.dashboard}", "submit", 0)
    state = RayLauncher().state(job)
    assert (state.phase, "does not know it" in state.detail) == (Phase.GONE, True)


def test_what_the_cluster_has_not_and_a_place_that_is_none_are_refused_in_a_sentence(
    cluster: RayCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = RayLauncher(cluster.dashboard)
    record = ray_job(tmp_path, "", nodes=3, each=2).record
    with pytest.raises(JobError, match=r"--nodes: expected at most the 2 times 2 CPUs that the cluster .* found 3"):
        launcher.check(record)
    gpus = record.model_copy(update={"resources": record.resources.model_copy(update={"gpus_per_node": 8})})
    with pytest.raises(
        JobError, match=r"--nodes: expected at most the 0 times 2 CPUs and 8 GPUs that the cluster .* has"
    ):
        launcher.check(gpus)
    with pytest.raises(JobError, match=r"--partition: expected none"):
        launcher.check(record.model_copy(update={"resources": record.resources.model_copy(update={"partition": "x"})}))
    with pytest.raises(JobError, match=r"^http://127.0.0.1:9: expected the dashboard of a Ray cluster, found none"):
        RayLauncher("http://127.0.0.1:9").check(record)
    with pytest.raises(JobError, match=r"^--address: expected the dashboard .* found '127.0.0.1:6379'"):
        RayLauncher("127.0.0.1:6379").check(record)
    with monkeypatch.context() as patch:
        patch.setattr(ray_launcher.ray, "__version__", "2.1.0")
        with pytest.raises(JobError, match=r"expected a cluster of Ray 2\.1\.0, as .*python.* has it, found 2\.\d+"):
            launcher.check(record)
    with monkeypatch.context() as patch:
        patch.setattr(ray_launcher.platform, "python_version_tuple", lambda: ("3", "99", "0"))
        with pytest.raises(JobError, match=r"expected a cluster of Python 3\.99, as this one is, found 3\.\d+; submit"):
            launcher.check(record)
    try:
        with monkeypatch.context() as patch:
            patch.setenv("RAY_AUTH_TOKEN", "0" * 64)
            reset_auth_token_state()
            with pytest.raises(JobError, match="expected a Ray cluster that takes this command's token"):
                launcher.check(record)
    finally:
        reset_auth_token_state()


@pytest.mark.slow
def test_a_node_that_comes_and_goes_costs_ranks_but_never_gives_the_job_up(cluster: RayCluster, tmp_path: Path) -> None:
    node = cluster.start_node()
    code = COUNTED + (
        "import signal, time\n"
        "world = int(os.environ['WORLD_SIZE'])\n"
        "(folder / f'world-{number}-{world}-{rank}').touch()\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))\n"
        "time.sleep(0 if world == 6 and (folder / 'world-2-3-0').exists() else 200)\n"
        "(folder / 'done').write_text(str(number))\n"
    )
    launcher = RayLauncher(cluster.dashboard)
    site = SiteSettings(environment={"WORK": str(tmp_path)}, ray=RaySite(wait_s=5))
    job = submitted(launcher, ray_job(tmp_path, code, each=3, attempts=1, site=site))
    wait_until(lambda: len(list(tmp_path.glob("world-1-6-*"))) == 6, 90)
    cluster.kill_node(node)
    wait_until(lambda: len(list(tmp_path.glob("world-*-3-*"))) == 3, 120)
    assert job.attempts()[0].exit_code is None
    cluster.start_node()
    assert finished(launcher, job).outcome.ending == "done"  # type: ignore[union-attr]
    assert [(one.exit_code, one.excused, len(one.nodes)) for one in job.attempts()] == [
        (None, True, 2),
        (75, True, 1),
        (0, False, 2),
    ]


@pytest.mark.slow
def test_a_job_takes_nodes_as_they_come_without_waiting_for_the_last(tmp_path: Path) -> None:
    code = COUNTED + (
        "import signal, time\n"
        "world = int(os.environ['WORLD_SIZE'])\n"
        "(folder / f'world-{world}-{rank}').touch()\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))\n"
        "time.sleep(0 if world == 2 and (folder / 'world-1-0').exists() else 200)\n"
    )
    site = SiteSettings(environment={"WORK": str(tmp_path)}, ray=RaySite(wait_s=5))
    with ray_cluster_with_jobs(cpus=1, nodes=3) as three:
        launcher = RayLauncher(three.dashboard)
        job = submitted(launcher, ray_job(tmp_path, code, nodes=3, site=site))
        wait_until((tmp_path / "world-3-2").exists, 90)
        for node in (1, 2):
            three.kill_node(node)
        wait_until((tmp_path / "world-1-0").exists, 120)
        three.start_node()
        assert finished(launcher, job).outcome.ending == "done"  # type: ignore[union-attr]
    assert [len(one.nodes) for one in job.attempts()] == [3, 1, 2]


@pytest.mark.slow
def test_another_python_whose_ray_can_not_join_ends_the_job_with_a_sentence(
    cluster: RayCluster, tmp_path: Path
) -> None:
    code = (
        "import runpy, sys, ray; ray.__version__ = '2.0.0'; sys.argv = sys.argv[1:]; "
        "runpy.run_module(sys.argv[0], {}, '__main__', True)"
    )
    other = tmp_path / "python"
    other.write_text(f'#!/bin/sh\nshift\nexec {sys.executable} -c "{code}" "$@"\n')
    other.chmod(0o755)
    launcher = RayLauncher(cluster.dashboard)
    job = finished(launcher, submitted(launcher, ray_job(tmp_path, "", python=str(other))))
    assert job.outcome is not None
    assert job.outcome.ending == "failed"
    assert "python can't join the cluster: Version mismatch" in job.outcome.why
    assert job.outcome.why in launcher.state(job).detail
