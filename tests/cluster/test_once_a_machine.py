"""What all ranks read as they start: one request a machine, whatever the number of ranks, and nothing left behind."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cluster import storage
from cluster.once_a_machine import copied_once_a_machine
from faulty_proxy import FaultyProxy
from jobs.local.s3 import S3Server

ROOT = Path(__file__).parents[2]
JOB = """
import json, os, sys
from pydantic import BaseModel
from cluster.home import usable_home
from pipeline.settings.load import load_settings

class Both(BaseModel):
    first: int
    second: int

url, machines, ranks, out = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
os.environ.update(WORLD_SIZE=str(machines * ranks), LOCAL_WORLD_SIZE=str(ranks), MASTER_ADDR="a", MASTER_PORT="1")
for machine in range(machines):
    if os.fork():
        continue
    for local in range(ranks):  # what a launcher starts on a machine
        if os.fork():
            continue
        os.environ.update(RANK=str(machine * ranks + local), LOCAL_RANK=str(local))
        found = load_settings(url, Both).settings
        with open(out, "a") as file:
            file.write(f"{found.first} {found.second}\\n")
        os._exit(0)
    for _ in range(ranks):
        os.wait()
    os._exit(0)
for _ in range(machines):
    os.wait()
"""


@pytest.mark.parametrize(
    ("machines", "ranks"), [(4, 4), pytest.param(16, 64, marks=pytest.mark.slow, id="a thousand ranks")]
)
def test_ranks_ask_for_their_settings_once_a_machine(
    s3_server: S3Server, s3_bucket: str, tmp_path: Path, machines: int, ranks: int
) -> None:
    storage.write_text(f"{s3_bucket}/base.yaml", "first: 1\n")
    storage.write_text(f"{s3_bucket}/mine.yaml", "base: base.yaml\nsecond: 2\n")
    with FaultyProxy(s3_server.endpoint, share=0) as proxy:
        asked = {}
        for count in (2, ranks):
            before = len(proxy.requests)
            (tmp_path / f"temporary-{count}").mkdir()
            told = {
                "PYTHONPATH": str(ROOT),
                "AWS_ENDPOINT_URL": proxy.url,
                "TMPDIR": str(tmp_path / f"temporary-{count}"),
            }
            words = [f"{s3_bucket}/mine.yaml", str(machines), str(count), str(tmp_path / f"found-{count}")]
            subprocess.run([sys.executable, "-c", JOB, *words], env=os.environ | told, check=True, timeout=280)
            found = (tmp_path / f"found-{count}").read_text().splitlines()
            assert found == ["1 2"] * machines * count
            asked[count] = [request.path for request in proxy.requests[before:]]
            assert list((tmp_path / f"temporary-{count}" / f"gavt-once-{os.getuid()}").iterdir()) == []
    for name in ("base.yaml", "mine.yaml"):
        assert sum(name in path for path in asked[ranks]) == machines
    assert len(asked[ranks]) == len(asked[2])


def test_a_job_of_one_rank_reads_for_itself_and_what_is_local_stays_where_it_is(
    s3_bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    storage.write_text(f"{s3_bucket}/one", "content")
    with copied_once_a_machine(f"{s3_bucket}/one") as copy:
        assert copy.read_text() == "content"
    (tmp_path / "here").write_text("local")
    with copied_once_a_machine(str(tmp_path / "here")) as copy:
        assert copy == tmp_path / "here"
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


def test_ranks_of_another_launch_do_not_get_an_older_version_and_what_killed_ones_left_goes(
    s3_bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "a"}
    for name, value in (told | {"MASTER_PORT": "1", "TMPDIR": str(tmp_path)}).items():
        monkeypatch.setenv(name, value)
    url, folder = f"{s3_bucket}/one", tmp_path / f"gavt-once-{os.getuid()}"
    storage.write_text(url, "old")
    with copied_once_a_machine(url) as copy:  # the other rank never comes
        left = copy.parent
    storage.write_text(url, "new")
    with copied_once_a_machine(url) as copy:
        assert copy.read_text() == "old"  # of the same launch: all of its ranks have the same
    assert list(folder.iterdir()) == []
    with copied_once_a_machine(url) as copy:
        assert copy.read_text() == "new"
    assert left.exists()
    os.utime(left, (time.time() - 7200,) * 2)
    monkeypatch.setenv("MASTER_PORT", "2")
    with copied_once_a_machine(url) as copy:
        assert copy.parent != left
    assert not left.exists()
