"""What a Ray cluster is sent: the program and settings, no data, no secret."""

import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from ray.runtime_env import RuntimeEnv

from cluster.errors import JobError
from cluster.job_records import JobRecord
from cluster.launchers.ray_sent import MAX_SENT_BYTES, pinned_packages, runtime_environment, sent_files, write_archive
from cluster.site_settings import RaySite, SiteSettings
from small_job import small_job


def record(folder: Path, **site: Any) -> JobRecord:
    return small_job(folder, "", site=SiteSettings(ray=RaySite(**site))).record


def test_the_program_and_what_the_site_names_are_sent_and_nothing_else(tmp_path: Path) -> None:
    for name in ("mine/kinds.py", "mine/__pycache__/kinds.pyc", "mine/.secret", "one.yaml", "shards/a.tar"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    sent = record(tmp_path, send=True, also=["mine", "one.yaml"])
    archives = [tmp_path / name for name in ("first.zip", "second.zip")]
    for archive in archives:
        write_archive(sent, archive)
    names = zipfile.ZipFile(archives[0]).namelist()
    assert {"cluster/launchers/ray_attempts.py", "pipeline/evaluate/report/report.html.j2"} < set(names)
    assert [name for name in names if not name.startswith(("cluster/", "jobs/", "pipeline/"))] == [
        "mine/kinds.py",
        "one.yaml",
    ]
    assert not any("__pycache__" in name for name in names)
    assert archives[0].read_bytes() == archives[1].read_bytes()


@pytest.mark.parametrize(
    ("also", "sentence"),
    [
        ("../other", r"ray\.also: expected a file or folder in the working folder .*, found '\.\./other'"),
        ("missing.yaml", r"ray\.also: .*missing\.yaml: no such file or folder"),
        ("data", r"ray\.also: expected code and settings, at most 50 MB .*, found \d\d MB, .*data/big\.tar among it"),
    ],
)
def test_what_can_not_be_sent_is_a_sentence(tmp_path: Path, also: str, sentence: str) -> None:
    (tmp_path / "data").mkdir()
    with (tmp_path / "data" / "big.tar").open("wb") as file:
        file.truncate(MAX_SENT_BYTES)
    with pytest.raises(JobError, match=sentence):
        sent_files(record(tmp_path, send=True, also=[also]))


def test_packages_are_pinned_to_what_is_installed_without_the_clusters_own_ray(tmp_path: Path) -> None:
    packages = pinned_packages()
    assert f"torch=={version('torch')}" in packages
    assert f"botocore=={version('botocore')}" in packages  # of s3fs
    assert not any(name.startswith(("ray==", "gavt==")) for name in packages)
    assert not any(name.startswith("pytest==") for name in packages)
    for installer in ("pip", "uv"):
        site = {"install": installer, "install_options": ["--extra-index-url=https://packages.example.org/simple"]}
        environment = runtime_environment(record(tmp_path / installer, **site))
        taken = RuntimeEnv(**environment)  # as Ray reads it
        assert taken[installer]["packages"] == packages


def test_what_is_not_installed_here_can_not_be_pinned() -> None:
    with pytest.raises(JobError, match="expected nothing-of-this-name to be installed here"):
        pinned_packages("nothing-of-this-name")


@pytest.mark.parametrize(
    ("site", "sentence"),
    [
        ({"install": "pip", "install_options": ["--index-url=https://me:pass@host/simple"]}, "no secret"),
        ({"also": ["configs"]}, "also only with send"),
        ({"install_options": ["--pre"]}, "install_options only with install"),
    ],
)
def test_settings_that_can_not_be_meant_are_refused(site: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        RaySite(**site)
