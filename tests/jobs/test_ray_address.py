"""`gavt prepare` on a running Ray cluster: workers have a working folder of their own, and others may read its logs."""

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from barcode_video import write_video
from cluster import storage
from jobs.local.ray_cluster import RayCluster
from jobs.local.s3 import S3Server
from pipeline.shards.ledger import read_ledger

WORDS = ["-s", "prepare.min_clip_s=1", "-s", "prepare.frame_rate_hz=1", "-s", "prepare.audio_samples=11025"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    root = Path(tempfile.mkdtemp(prefix="gavt-rc-", dir="/tmp"))
    started = RayCluster(root, 1)
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name in [name for name in os.environ if name.startswith("AWS_")]:
                patch.delenv(name)  # the daemons know no keys
            started.start_node()
        yield started
    finally:
        started.stop()
        shutil.rmtree(root)


def prepare(cluster: RayCluster, folder: Path, *words: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "jobs.cli", "prepare", *words, *WORDS, "--ray-address", cluster.address]
    paths = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": paths} | cluster.environment() | variables
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=280)


@pytest.mark.timeout(300)
def test_what_is_relative_lies_in_the_working_folder_of_the_command_not_of_the_workers(
    cluster: RayCluster, tmp_path: Path
) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "cookies.txt").write_text("# Netscape HTTP Cookie File\n")
    write_video(tmp_path / "lists" / "video.mp4", 3)
    (tmp_path / "lists" / "list.txt").write_text("video.mp4\n")
    store = ["-s", "fetch.store=store", "-s", "fetch.cookies=cookies.txt"]
    done = prepare(cluster, tmp_path, "lists/list.txt", "--out", "made/shards", *store)
    assert done.returncode == 0, done.stderr
    made = tmp_path / "made" / "shards"
    assert {"shard-000000.tar", "dataset.json", "ledger.jsonl"} <= {path.name for path in made.iterdir()}
    assert [entry.status for entry in read_ledger(str(made))] == ["ok"]
    again = prepare(cluster, tmp_path, "--out", "made/shards")
    assert again.returncode == 0, again.stderr


@pytest.mark.timeout(300)
def test_keys_of_storage_reach_the_workers_and_stand_in_no_file_of_ray(
    cluster: RayCluster, s3_server: S3Server, s3_bucket: str, tmp_path: Path
) -> None:
    storage.upload(write_video(tmp_path / "video.mp4", 3), f"{s3_bucket}/videos/video.mp4")
    done = prepare(cluster, tmp_path, f"{s3_bucket}/videos", "--out", f"{s3_bucket}/shards")
    assert done.returncode == 0, done.stderr
    assert json.loads(storage.read_bytes(f"{s3_bucket}/shards/dataset.json"))["samples"] > 0
    secret = s3_server.secret_key.encode()
    written = [path for path in cluster.root.rglob("*") if path.is_file() and not path.is_symlink()]
    assert len(written) > 20  # Ray's logs are among them
    assert [path for path in written if secret in path.read_bytes()] == []


def test_others_can_neither_enter_the_clusters_folder_nor_reach_its_ports_from_elsewhere(cluster: RayCluster) -> None:
    assert stat.S_IMODE(cluster.root.stat().st_mode) == 0o700
    listening = [
        port.laddr.ip.removeprefix("::ffff:")
        for process in cluster.processes(0)
        for port in process.net_connections(kind="inet")
        if port.status == psutil.CONN_LISTEN
    ]
    assert len(listening) > 3
    assert {address for address in listening if not address.startswith("127.")} <= {"::1"}
