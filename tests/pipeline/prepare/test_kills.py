"""Whatever is killed, and however often: the same bytes, nothing lost, nothing twice."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from barcode_video import write_video
from cluster.exit_codes import IN_USE
from jobs.local.ray_cluster import RayCluster

VIDEOS = 48
KILLS = 30
WORDS = [
    "-s", "prepare.min_clip_s=1", "-s", "prepare.frame_rate_hz=25", "-s", "prepare.audio_samples=11025",
    "-s", "prepare.rows_per_shard=3", "-s", "prepare.frame_choice=exact",
]  # fmt: skip


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for number in range(4):
        write_video(folder / f"original-{number}.mp4", 8, size=(640, 360))
    names = []
    for number in range(VIDEOS):
        os.link(folder / f"original-{number % 4}.mp4", folder / f"{number:02d}.mp4")
        names.append(f"{number:02d}.mp4\n")
    (folder / "list.txt").write_text("".join([*names, "gone.mp4\n"]))
    return folder


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    root = Path(tempfile.mkdtemp(prefix="gavt-rc-", dir="/tmp"))
    started = RayCluster(root, 1)
    try:
        started.start_node()
        started.start_node()
        yield started
    finally:
        started.stop()
        shutil.rmtree(root, ignore_errors=True)


def begin(videos: Path, out: Path, cluster: RayCluster | None) -> "subprocess.Popen[str]":
    where = ["--local"] if cluster is None else ["--ray-address", cluster.address]
    command = [sys.executable, "-m", "jobs.cli", "prepare", str(videos / "list.txt"), "--out", str(out), *WORDS, *where]
    environment = os.environ | (cluster.environment() if cluster is not None else {})
    return subprocess.Popen(
        command, text=True, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )


def content_of(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def workers_of(processes: list[psutil.Process]) -> tuple[list[psutil.Process], list[psutil.Process]]:
    """(Ray's workers, our decoding processes) below these processes."""
    rays, decoders = [], []
    for process in processes:
        try:
            command = " ".join(process.cmdline())
            if "cluster.isolation" in command:
                decoders.append(process)
            elif command.startswith("ray::") and "Agent" not in command:  # a raylet ends with its agents
                rays.append(process)
                decoders += process.children(recursive=True)
        except psutil.NoSuchProcess:
            continue
    return rays, decoders


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_thirty_random_kills_of_driver_worker_and_node_leave_the_bytes_of_an_undisturbed_run(
    videos: Path, cluster: RayCluster, tmp_path: Path
) -> None:
    undisturbed = begin(videos, tmp_path / "undisturbed", cluster)
    said, _ = undisturbed.communicate(timeout=600)
    assert undisturbed.returncode == 0, said
    expected = content_of(tmp_path / "undisturbed")

    generator = np.random.default_rng(3)
    killed: Counter[str] = Counter()
    out = tmp_path / "out"
    node = 1
    driver = begin(videos, out, cluster)
    while killed.total() < KILLS:
        time.sleep(float(generator.uniform(0.5, 4)))
        if driver.poll() is not None:
            assert driver.returncode in (0, -signal.SIGKILL), driver.communicate()[0]
            if driver.returncode == 0:  # done: once more from a set of which shards were lost
                for number in generator.choice((VIDEOS + 3) // 3, 8, replace=False):
                    (out / f"shard-{number:06d}.json").unlink(missing_ok=True)
            driver = begin(videos, out, cluster)
            continue
        what = str(generator.choice(["driver", "worker", "decoder", "node"], p=[0.25, 0.35, 0.25, 0.15]))
        processes = [process for number in (0, node) for process in cluster.processes(number)]
        rays, decoders = workers_of(processes)
        if what == "driver":
            driver.kill()
            driver.communicate()
            driver = begin(videos, out, cluster)
        elif what == "node":
            cluster.kill_node(node)
            node = cluster.start_node()
        else:
            there = rays if what == "worker" else decoders
            if not there:
                continue
            victim = there[int(generator.integers(len(there)))]
            try:
                victim.kill()
            except psutil.NoSuchProcess:
                continue
        killed[what] += 1
    said, _ = driver.communicate(timeout=600)
    if driver.returncode != 0:
        driver = begin(videos, out, cluster)
        said, _ = driver.communicate(timeout=600)
    assert driver.returncode == 0, said
    assert set(killed) == {"driver", "worker", "decoder", "node"}
    assert content_of(out) == expected


def test_a_second_driver_is_refused_and_the_first_goes_on(videos: Path, tmp_path: Path) -> None:
    first = begin(videos, tmp_path / "out", None)
    until = time.monotonic() + 60
    while not (tmp_path / "out/shard-000000.json").exists():
        assert first.poll() is None, first.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)
    second = begin(videos, tmp_path / "out", None)
    said, _ = second.communicate(timeout=60)
    assert second.returncode == IN_USE
    assert f"gavt: {tmp_path}/out: another gavt prepare works on it (process {first.pid} on " in said
    assert first.poll() is None
    first.terminate()
    first.communicate(timeout=60)
