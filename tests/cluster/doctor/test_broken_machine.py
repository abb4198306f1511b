"""A machine is broken in one way after the other; the sentence says what is wrong and what to do."""

import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster.doctor import gpu, installed, machine, services
from cluster.doctor.finding import Finding, worst
from unprivileged import read_only
from wandb_server import KEY, WandbServer


def program(folder: Path, name: str, script: str) -> None:
    """A program that says what a broken machine's would."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def files_limit() -> Iterator[Callable[[int], None]]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield lambda limit: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_small_limit_of_open_files_is_told_with_the_command_that_raises_it(
    files_limit: Callable[[int], None],
) -> None:
    files_limit(200)
    found = machine.open_files()
    assert (found.state, found.found[:12]) == ("fail", "200 open fil")
    assert found.advice == "raise the limit to 1024: `ulimit -n 1024` before the command"
    files_limit(1024)
    assert machine.open_files().state == "ok"


def test_the_main_process_of_many_ranks_needs_more_open_files(files_limit: Callable[[int], None]) -> None:
    files_limit(1024)
    assert machine.open_files(512).state == "warn"
    assert machine.open_files(2048).state == "fail"
    assert "raise the limit to 3072" in machine.open_files(2048).advice


def test_a_full_folder_for_temporary_files_is_told_with_the_variable_that_names_another(small_disk: Path) -> None:
    found = machine.disk("temporary files", small_disk / "not yet there", "TMPDIR")
    assert found.state == "fail"
    assert f"{small_disk}/not yet there: 0.00 GB free" in found.found
    assert found.advice == "make room there, or name another folder by TMPDIR"
    assert list(small_disk.iterdir()) == []


def test_a_folder_that_may_not_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir()
    with read_only(tmp_path / "closed"):
        found = machine.disk("cache", tmp_path / "closed", "GAVT_CACHE")
    advice = "make it writable, or name another folder by GAVT_CACHE"
    assert found == Finding("cache", "fail", f"{tmp_path}/closed: Permission denied", advice)


def test_little_shared_memory_is_told_with_the_containers_option(small_disk: Path) -> None:
    found = machine.shared_memory(str(small_disk))
    assert found.state == "fail"
    assert "docker --shm-size=8g" in found.advice
    assert machine.shared_memory(f"{small_disk}/none").state == "fail"


def test_a_missing_compiler_is_told_with_the_packages_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    found = machine.compiler()
    assert (found.state, found.found) == ("fail", "no c++, no g++")
    assert "apt-get install g++ python3-dev" in found.advice


def test_missing_headers_of_python_are_told_in_the_compilers_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sysconfig.get_path", lambda name: "/no/headers")
    found = machine.compiler()
    assert found.state == "fail"
    assert "Python.h" in found.found
    monkeypatch.undo()
    assert machine.compiler().state == "ok"


def test_a_package_of_another_version_is_told_with_the_command_that_mends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in (
        (
            "one",
            "Requires-Dist: torch<2.15,>=2.11\nRequires-Dist: nowhere-to-be-found>=1\nRequires-Dist: x; extra == 'y'",
        ),
        ("torch", ""),
    ):
        folder = tmp_path / f"{name}-2.15.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 2.15.0\n{text}\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = installed.packages("one")
    assert found.state == "fail"
    assert found.found == "torch 2.15.0 instead of <2.15,>=2.11, nowhere-to-be-found none instead of >=1"
    assert found.advice == "pip install 'torch<2.15,>=2.11' 'nowhere-to-be-found>=1'"
    assert installed.packages("not-installed").state == "warn"


def test_machines_with_different_versions_are_told_apart() -> None:
    found = installed.differences({"a": {"torch": "2.14"}, "b": {"torch": "2.13"}, "c": {"torch": "2.14"}})
    assert (found.state, found.found) == ("fail", "b: torch 2.13 instead of 2.14")


@pytest.mark.parametrize(
    ("script", "state", "said"),
    [
        ("echo 'NVIDIA H100, 580.1, 81559, 4, 0'", "ok", "1 × NVIDIA H100, 81559 MiB, driver 580.1"),
        ("echo 'H100, 580.1, 81559, 4, 0'; echo 'H100, 580.1, 81559, 4, 7'", "fail", "uncorrected memory errors on 1"),
        ("echo 'H100, 580.1, 81559, 60000, [N/A]'", "warn", "memory in use on 0"),
        ("echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18", "fail", "version mismatch"),
    ],
)
def test_what_nvidia_smi_says_of_gpus_is_judged(
    script: str, state: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin", "nvidia-smi", script)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/bin:/usr/bin")
    found = gpu.gpus(tmp_path)
    assert found.state == state
    assert said in found.found
    assert (found.advice == "") == (state == "ok")


def test_gpus_that_a_container_does_not_let_through_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert gpu.gpus(tmp_path).state == "warn"
    (tmp_path / "nvidia0").touch()
    found = gpu.gpus(tmp_path)
    assert (found.state, found.found) == ("fail", "1 NVIDIA devices, but no nvidia-smi")


def test_wandb_takes_the_account_or_it_is_said_where_a_key_belongs(monkeypatch: pytest.MonkeyPatch) -> None:
    with WandbServer() as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        assert services.wandb().state == "ok"
        server.keys = {"1" * 40}
        found = services.wandb()
        assert (found.state, found.found) == ("fail", f"{server.url} does not accept the account")
        assert "WANDB_API_KEY" in found.advice
        assert KEY not in str(found)
    away = services.wandb()
    assert away.state == "fail"
    assert "WANDB_MODE=offline does without" in away.advice
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert services.wandb().state == "ok"
    monkeypatch.setenv("WANDB_MODE", "sometimes")
    assert services.wandb().state == "fail"


def test_a_slurm_whose_controller_is_away_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert services.slurm() == Finding("slurm", "ok", "not on this machine")
    for name in ("sbatch", "srun", "scontrol"):
        program(tmp_path, name, "exit 0")
    assert services.slurm().state == "warn"
    program(tmp_path, "squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    found = services.slurm()
    assert (found.state, found.found) == (
        "fail",
        "squeue: slurm_load_jobs error: Unable to contact slurm controller",
    )
    assert "slurmctld" in found.advice


def test_a_ray_cluster_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for address in ("127.0.0.1:9", "http://127.0.0.1:9", "nonsense"):
        monkeypatch.setenv("RAY_ADDRESS", address)
        assert services.ray_cluster().state == "fail"
        assert address in services.ray_cluster().found
    monkeypatch.delenv("RAY_ADDRESS")
    assert services.ray_cluster().state == "ok"


def test_the_worst_of_findings_is_what_counts() -> None:
    assert worst([Finding("a", "ok", ""), Finding("b", "fail", ""), Finding("c", "warn", "")]) == "fail"
    assert worst([]) == "ok"
