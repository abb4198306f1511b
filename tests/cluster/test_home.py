"""Libraries that keep things in a home, where there is none."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.home import usable_home
from unprivileged import read_only

PLACES = ("MPLCONFIGDIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "TRITON_CACHE_DIR")


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PLACES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("home", [None, "", "/proc/none", "kept"])
def test_without_a_home_to_write_to_there_are_private_folders_as_long_as_the_command_lasts(
    home: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kept").mkdir()
    monkeypatch.delenv("HOME", raising=False)
    if home is not None:
        monkeypatch.setenv("HOME", str(tmp_path / home) if home == "kept" else home)
    monkeypatch.setenv("WANDB_CACHE_DIR", "/somewhere")
    with read_only(tmp_path / "kept"), usable_home():
        places = [Path(os.environ[name]) for name in PLACES if name != "WANDB_CACHE_DIR"]
        for place in places:
            (place / "cache").write_text("kept")
            assert place.parent.stat().st_mode & 0o077 == 0
        assert os.environ["WANDB_CACHE_DIR"] == "/somewhere"  # what is named stays
    assert not any(place.exists() for place in places)
    assert "MPLCONFIGDIR" not in os.environ


def test_a_home_that_can_be_written_to_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with usable_home():
        assert not any(name in os.environ for name in PLACES)


def test_pictures_are_drawn_without_a_word_where_there_is_no_home(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("name: tiny\n")
    (run / "metrics.jsonl").write_text('{"step": 1, "loss": 1.0}\n{"step": 2, "loss": 0.5}\n')
    words = ["compare", str(run), str(run), "--plot", str(tmp_path / "curves.png")]
    command = [sys.executable, "-m", "jobs.cli", *words]
    environment = os.environ | {"HOME": "/proc/none", "PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert (tmp_path / "curves.png").stat().st_size > 0
