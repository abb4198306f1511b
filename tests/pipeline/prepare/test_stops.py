"""A run that goes wrong everywhere stops and says why; its wandb run tells how it went."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from barcode_video import write_video
from pipeline.train.records.wandb_file import read_history

WORDS = ["-s", "prepare.min_clip_s=1", "-s", "prepare.audio_samples=11025", "-s", "prepare.rows_per_shard=8"]


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list of 120 videos of which two in three are not there."""
    folder = tmp_path_factory.mktemp("videos")
    write_video(folder / "0.mp4", 2)
    for number in range(3, 120, 3):
        os.link(folder / "0.mp4", folder / f"{number}.mp4")
    (folder / "list.txt").write_text("".join(f"{number}.mp4\n" for number in range(120)))
    return folder / "list.txt"


def gavt(*words: str, cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "jobs.cli", "prepare", *words, *WORDS, "--local"]
    path = {"PYTHONPATH": str(Path(__file__).parents[3])}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=300, cwd=cwd, env=os.environ | path | environment
    )


def test_too_many_failures_stop_the_run_with_the_commonest_reasons_and_lose_nothing(
    listed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    ended = gavt(str(listed), "--out", str(out), "--max-failure-rate", "0.5", cwd=tmp_path)
    assert ended.returncode == 2
    assert f"gavt: {out}: stopped, since " in ended.stderr
    assert "videos failed, more than 50%: missing (" in ended.stderr
    done = len(list(out.glob("shard-*.json")))
    assert 6 <= done < 15
    assert not (out / "dataset.json").exists()
    assert not (out / "prepare.lock").exists()
    again = gavt("--out", str(out), "--max-failure-rate", "0.7", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert len(list(out.glob("shard-*.json"))) == 15


def test_wandb_has_the_rate_and_the_failures_of_a_run_and_its_id_stays(listed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for _ in range(2):
        ended = gavt(str(listed), "--out", str(out), "--wandb", "videos", cwd=tmp_path, WANDB_MODE="offline")
        assert ended.returncode == 0, ended.stderr
        (out / "shard-000003.json").unlink()
        (out / "dataset.json").unlink()
    files = sorted((tmp_path / "wandb").glob("offline-run-*/*.wandb"))
    assert {file.stem for file in files} == {f"run-{(out / 'wandb_run_id').read_text()}"}
    first, second = (list(read_history(file))[-1] for file in files)
    assert (first["videos"], first["samples"], first["failed"], first["failed/missing"]) == (120, 40, 80, 80)
    assert first["videos_per_s"] > 0
    assert first["remaining_s"] == 0
    assert (second["videos"], second["failed"]) == (120, 5)
