"""Jobs on a Ray cluster: their ranks, their attempts, their end."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray._private.authentication_test_utils import reset_auth_token_state

from cluster.errors import JobError
from cluster.job_folder import JobFolder
from cluster.launchers.contract import Phase
from cluster.launchers.ray import RayLauncher
from cluster.site_settings import RaySite, SiteSettings
from jobs.local.ray_cluster import RayCluster
from ray_cluster_with_jobs import ray_cluster_with_jobs
from small_job import COUNTED, small_job, submitted, wait_until

pytestmark = pytest.mark.timeout(300)
TOLD = """
print(*[os.environ.get(name) for name in ("LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")], os.getcwd(), sys.argv[1:])
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with ray_cluster_with_jobs(cpus=4) as started:
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


def finished(launcher: RayLauncher, job: JobFolder) -> JobFolder:
    wait_until(lambda: job.outcome and launcher.state(job).phase == Phase.GONE, 120)
    return job


def test_ranks_on_all_nodes_are_told_of_each_other_and_go_on_as_long_as_there_is_progress(
    cluster: RayCluster, tmp_path: Path
) -> None:
    code = COUNTED + TOLD + "(folder / 'done').write_text(f'step-{number:04}')\nsys.exit(75 if number < 2 else 0)"
    odd = "a 'b' \"$(touch x)\"; `id` \n*"
    launcher = RayLauncher(cluster.dashboard)
    job = finished(launcher, submitted(launcher, ray_job(tmp_path, code, odd, each=2, attempts=1)))
    assert job.outcome is not None
    assert job.outcome.ending == "done", launcher.logs(job)
    assert [(one.exit_code, one.reached) for one in job.attempts()] == [(75, 1), (0, 2)]
    assert job.ranks(2) == [0, 1, 2, 3]
    for rank in range(4):
        said = Path(job.log_url(2, rank)).read_text()
        assert said == f"attempt 2 of rank {rank}\n{rank % 2} 4 2 {tmp_path} [{odd!r}]\n"
    (Path(job.url) / "submissions" / "0001.json").unlink()  # as if somebody else had submitted it just now
    with pytest.raises(JobError, match="takes no id twice"):
        launcher.submit(job)


def test_a_cancelled_job_may_save_and_does_not_start_again(cluster: RayCluster, tmp_path: Path) -> None:
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
    job = submitted(launcher, ray_job(tmp_path, code))
    wait_until(lambda: len(list(tmp_path.glob("ready-*"))) == 2, 60)
    assert launcher.state(job).phase == Phase.RUNNING
    job.end("cancelled", "by gavt cancel")
    launcher.cancel(job)
    assert launcher.state(job).phase == Phase.GONE
    assert len(list(tmp_path.glob("saved-*"))) == 2
    assert [one.exit_code for one in job.attempts()] == [75]


def test_a_rank_that_is_killed_takes_the_others_with_it_and_all_start_again(
    cluster: RayCluster, tmp_path: Path
) -> None:
    code = COUNTED + (
        "import time\n"
        "(folder / f'pid-{rank}').write_text(str(os.getpid()))\n"
        "time.sleep(0 if number > 1 else 100)\n"
        "(folder / 'done').write_text('1')\n"
    )
    launcher = RayLauncher(cluster.dashboard)
    job = submitted(launcher, ray_job(tmp_path, code))
    wait_until(lambda: len(list(tmp_path.glob("pid-*"))) == 2, 60)
    os.kill(int((tmp_path / "pid-1").read_text()), signal.SIGKILL)
    assert finished(launcher, job).outcome.ending == "done"  # type: ignore[union-attr]
    assert [one.exit_code for one in job.attempts()] == [137, 0]


def test_what_the_cluster_has_not_and_a_place_that_is_none_are_refused_in_a_sentence(
    cluster: RayCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = RayLauncher(cluster.dashboard)
    record = ray_job(tmp_path, "", nodes=3, each=2).record
    with pytest.raises(JobError, match=r"--nodes: expected at most the 2 times 2 CPUs that the cluster .* found 3"):
        launcher.check(record)
    with pytest.raises(JobError, match=r"--partition: expected none"):
        launcher.check(record.model_copy(update={"resources": record.resources.model_copy(update={"partition": "x"})}))
    with pytest.raises(JobError, match=r"^http://127.0.0.1:9: expected the dashboard of a Ray cluster, found none"):
        RayLauncher("http://127.0.0.1:9").check(record)
    with pytest.raises(JobError, match=r"^--address: expected the dashboard .* found '127.0.0.1:6379'"):
        RayLauncher("127.0.0.1:6379").check(record)
    try:
        with monkeypatch.context() as patch:
            patch.setenv("RAY_AUTH_TOKEN", "0" * 64)
            reset_auth_token_state()
            with pytest.raises(JobError, match="expected a Ray cluster that takes this command's token"):
                launcher.check(record)
    finally:
        reset_auth_token_state()


def test_a_job_of_a_cluster_that_is_gone_is_unknown_and_goes_on_at_another(cluster: RayCluster, tmp_path: Path) -> None:
    job = ray_job(tmp_path, COUNTED, nodes=1)
    job.note_submission(f"{job.name}-1@http://127.0.0.1:9", "submit", 0)
    launcher = RayLauncher(cluster.dashboard)
    assert launcher.state(job).phase == Phase.UNKNOWN
    job.note_submission(launcher.submit(job), "resume", 0)
    assert finished(launcher, job).outcome.ending == "done"  # type: ignore[union-attr]
    assert job.attempts()[0].id == f"{job.name}-2"


@pytest.mark.slow
def test_a_job_goes_on_with_fewer_ranks_where_a_node_was_lost_and_with_all_when_another_comes(
    cluster: RayCluster, tmp_path: Path
) -> None:
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
    job = submitted(launcher, ray_job(tmp_path, code, each=3, attempts=9, site=site))
    wait_until(lambda: len(list(tmp_path.glob("world-1-6-*"))) == 6, 90)
    cluster.kill_node(node)
    wait_until(lambda: len(list(tmp_path.glob("world-*-3-*"))) == 3, 120)
    assert job.attempts()[0].exit_code is None
    cluster.start_node()
    assert finished(launcher, job).outcome.ending == "done"  # type: ignore[union-attr]
    assert [len(one.nodes) for one in job.attempts()][-1] == 2
