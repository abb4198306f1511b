"""What a job runs: the words of a person, with the settings as they were when it was submitted."""

import json
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import JobError
from jobs.verb_words import VerbWords
from pipeline.experiment import ExperimentSettings
from pipeline.settings.load import load_settings

CONFIG = str(Path(__file__).parents[2] / "configs" / "experiments" / "quickstart.yaml")
ODD = "a 'b' \"$(touch x)\"; `id` \n*"


def command(verb: str) -> Any:
    from typer.main import get_command

    from jobs.verbs import app

    return get_command(app).commands[verb]  # type: ignore[attr-defined]


def frozen(words: VerbWords, place: Path) -> ExperimentSettings:
    place.write_text(words.settings_text())
    return load_settings(str(place), ExperimentSettings).settings


def test_the_file_says_what_config_and_overrides_said_whatever_becomes_of_them(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"base: {CONFIG}\ntrain: {{learning_rate: 3e-4}}\n")
    words = VerbWords(
        command("train"), [str(config), f"train.wandb.notes={json.dumps(ODD)}", "--set", "train.steps=7", "--run", "r"]
    )
    config.write_text("broken: [")
    kept = frozen(words, tmp_path / "settings.yaml")
    assert kept == words.settings
    assert (kept.train.steps, kept.train.learning_rate, kept.train.wandb.notes) == (7, 3e-4, ODD)


def test_words_that_are_no_settings_stay_as_they_are(tmp_path: Path) -> None:
    shares = ["--split-share=validation=0.1", "--split-share=test=0.1"]
    given = [ODD, "--set", "fetch.ahead=2", *shares, "--local", "--out", ODD, "--set", "prepare.frame_height=64"]
    given += ["--", "-x"]
    told = VerbWords(command("prepare"), given).with_settings("FILE")
    assert told[told.index("--") :] == ["--", ODD, "-x"]
    assert sorted(told[: told.index("--")]) == sorted(
        ["--set=fetch.ahead=2", *shares, "--local", f"--out={ODD}", "--config=FILE"]
    )
    again = VerbWords(command("prepare"), [word for word in told if not word.startswith("--config")])
    assert again.with_settings("FILE") == told
    assert again.settings.fetch.ahead == 2


def test_several_runs_are_judged_elsewhere_as_here(tmp_path: Path) -> None:
    words = VerbWords(command("evaluate"), ["runs/a", "runs/b", "--data", "shards", "--out", str(tmp_path)])
    assert words.folder == str(tmp_path)
    assert sorted(words.with_settings("FILE")[2:]) == sorted(["--data=shards", f"--out={tmp_path}", "--config=FILE"])
    assert words.with_settings("FILE")[:2] == ["runs/a", "runs/b"]


def test_how_videos_are_fetched_is_never_copied_but_read_where_it_is(tmp_path: Path) -> None:
    config = tmp_path / "con fig.yaml"
    config.write_text("prepare: {frame_height: 64}\nfetch: {yt_dlp_options: {password: hush}, ahead: 2}\n")
    words = VerbWords(command("prepare"), ["videos", "--out", "shards", "--config", str(config)])
    config.write_text("prepare: {frame_height: 128}\nfetch: {yt_dlp_options: {password: hush}, ahead: 3}\n")
    kept = frozen(words, tmp_path / "settings.yaml")
    assert (kept.prepare.frame_height, kept.fetch.ahead) == (64, 3)
    assert "hush" not in (tmp_path / "settings.yaml").read_text()


def test_a_secret_in_the_settings_is_refused_by_its_key(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("data: {train: 'https://me:hush@host/x'}\n")
    with pytest.raises(JobError) as refused:
        VerbWords(command("train"), [str(config)]).settings_text()
    assert str(refused.value).startswith(f"{config}: data.train holds a secret")
