"""Preparing on several machines of a real Slurm cluster, submitted and sent back into the queue: the same shards."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from barcode_video import write_video
from cluster.job_folder import JobFolder
from jobs.local.slurm import SlurmCluster
from small_job import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
CONFIG = "prepare: {min_clip_s: 1, frame_rate_hz: 5, audio_samples: 11025, rows_per_shard: 1}\n"


def gavt(*words: str | Path) -> dict[str, str]:
    command = [sys.executable, "-m", "jobs.cli", *map(str, words), "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def shards(folder: Path) -> dict[str, str]:
    files = [*folder.glob("shard-*"), folder / "dataset.json", folder / "ledger.jsonl"]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_nodes_that_slurm_gives_and_takes_back_make_the_shards_of_one_machine(
    slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    videos, config = tmp_path / "vid eos", tmp_path / "config.yaml"
    videos.mkdir()
    for number in range(2):
        write_video(videos / f"{number}-0.mp4", 8)
        for copy in range(1, 7):
            os.link(videos / f"{number}-0.mp4", videos / f"{number}-{copy}.mp4")
    config.write_text(CONFIG)
    words = ("prepare", videos, "--config", config, "--out")
    gavt(*words, tmp_path / "one machine", "--local")

    out = tmp_path / "two machines"
    job = JobFolder(gavt("submit", *words, out, "--to", "slurm", "--nodes", "2")["folder"])
    config.write_text("an edit that nobody is to see")
    wait_until(lambda: len(list(out.glob("shard-*.json"))) > 1, 240)
    subprocess.run(["scontrol", "requeue", job.submissions()[0].id], check=True)
    wait_until(lambda: job.outcome is not None, 300)
    assert job.outcome is not None
    assert job.outcome.ending == "done", Path(job.log_url(len(job.attempts()), 0)).read_text()
    assert shards(out) == shards(tmp_path / "one machine")
    # None: on a busy machine the ten seconds that this Slurm gives are not enough to leave
    assert [attempt.exit_code for attempt in job.attempts()] in ([75, 0], [None, 0])
    assert {attempt.nodes for attempt in job.attempts()} == {("node1", "node2")}
