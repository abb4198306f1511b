"""As many threads and workers as this process may use cores, not as many as the machine has."""

import os
from pathlib import Path

import pytest

from cluster import cores
from cluster.cores import usable_cores
from cluster.launch import launch_local


@pytest.fixture
def cgroups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree of cgroups and what the kernel says of this process, which a test can't change on the real one."""
    monkeypatch.setattr(cores, "_CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(cores, "_OF_THIS_PROCESS", tmp_path / "self")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)))
    return tmp_path


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.mark.parametrize(
    ("said", "files", "expected"),
    [
        ("0::/job/step\n", {"job/step/cpu.max": "max 100000", "job/cpu.max": "400000 100000"}, 4),
        ("0::/job/step\n", {"job/step/cpu.max": "250000 100000", "cpu.max": "800000 100000"}, 2),
        ("0::/of/the/host\n", {"cpu.max": "300000 100000"}, 3),  # in a container
        ("0::/\n", {"cpu.max": "50000 100000"}, 1),
        ("0::/\n", {"cpu.max": "max 100000"}, 64),
        ("0::/\n", {}, 64),
        (
            "5:memory:/job\n4:cpu,cpuacct:/job\n0::/\n",
            {"cpu,cpuacct/job/cpu.cfs_quota_us": "600000", "cpu,cpuacct/job/cpu.cfs_period_us": "100000"},
            6,
        ),
        ("4:cpuacct,cpu:/job\n", {"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, 2),
        ("4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 64),
    ],
)
def test_the_quota_of_every_cgroup_above_counts(cgroups: Path, said: str, files: dict[str, str], expected: int) -> None:
    write(cgroups / "self", said)
    for name, text in files.items():
        write(cgroups / "cgroup" / name, text + "\n")
    assert usable_cores() == expected


def test_a_process_that_may_run_on_one_core_has_one(cgroups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {5})
    assert usable_cores() == 1  # also where nothing says anything of cgroups


def test_started_processes_share_the_usable_cores(cgroups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    write(cgroups / "self", "0::/\n")
    write(cgroups / "cgroup/cpu.max", "600000 100000\n")
    said = cgroups / "threads"
    assert launch_local(["sh", "-c", f'echo "$OMP_NUM_THREADS" > {said}'], 2) == 0
    assert said.read_text() == "3\n"
