"""A Ray cluster whose nodes have Ray and nothing else: it is sent the program, and installs what that needs."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import ray

from cluster.launchers import ray_sent
from cluster.launchers.ray import RayLauncher
from cluster.site_settings import RaySite, SiteSettings
from ray_cluster_with_jobs import ray_cluster_with_jobs
from small_job import finished, small_job, submitted

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
NEEDED = ("pydantic", "fsspec", "psutil", "packaging", "webdataset")
"""What launchers import on a node, and one more: all that gavt needs is gigabytes."""
CODE = """
import importlib.metadata, sys, cluster, webdataset
print(importlib.metadata.version("webdataset"), sys.prefix, cluster.__file__)
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Python that has Ray alone."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    found = str(folder / "bin" / "python3")
    words = [
        found,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        f"ray[default]=={ray.__version__}",
    ]
    done = subprocess.run([*words, "virtualenv"], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no index of packages: {done.stderr.strip().splitlines()[-1]}")
    return found


@pytest.mark.parametrize("installer", ["pip", "uv"])
def test_a_job_runs_with_the_versions_that_are_installed_here(
    python: str, installer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = sorted({line for name in NEEDED for line in [_own(name), *ray_sent.pinned_packages(name)]})
    monkeypatch.setattr(ray_sent, "pinned_packages", lambda: pinned)
    with ray_cluster_with_jobs(cpus=1, python=python) as cluster:
        launcher = RayLauncher(cluster.dashboard)
        site = SiteSettings(ray=RaySite(send=True, install=installer))
        job = small_job(
            tmp_path,
            CODE,
            place="ray",
            name=f"train-{installer}",
            site=site,
            python="python3",
            program=("python3", "-c"),
        )
        assert finished(launcher, submitted(launcher, job), 500).outcome.ending == "done", launcher.logs(job)
        found, prefix, program = Path(job.log_url(1, 0)).read_text().split()
        assert found == version("webdataset")
        assert Path(prefix).is_relative_to(cluster.root / "ray")
        assert Path(program).is_relative_to(cluster.root / "ray")


def _own(name: str) -> str:
    return f"{name}=={version(name)}"
