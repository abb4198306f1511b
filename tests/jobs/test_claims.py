"""Claims of papers, trained and judged on small data."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipeline.claims.settings import ClaimSettings
from pipeline.claims.trials import trials_of
from pipeline.errors import SettingsError
from pipeline.settings.load import load_settings
from tiny_shards import FEATURES, MODEL, write_shard_set

SHIPPED = sorted(Path("configs/claims").rglob("*.yaml"))
WORDS = ["data.train=t", "data.validation=v"]


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
@pytest.mark.parametrize("form", ["small", "full"])
def test_every_claim_has_settings_in_small_and_in_full(file, form, tmp_path):
    settings = load_settings(str(file), ClaimSettings).settings
    trials = trials_of(str(file), settings, form, 2, WORDS, tmp_path)
    assert len(trials) == 2 * len(settings.sides)
    assert len({(trial.run, trial.judged, settings.sides[trial.side].row) for trial in trials}) == len(trials)


def test_what_is_trained_alike_is_trained_once_for_all_claims(tmp_path):
    def runs(name):
        file = f"configs/claims/{name}.yaml"
        return {
            trial.run
            for trial in trials_of(file, load_settings(file, ClaimSettings).settings, "small", 1, WORDS, tmp_path)
        }

    assert runs("direction") == runs("mean_of_heads") == runs("over_silence")
    assert runs("direction") < runs("width_against_depth")


def gavt(*words: str) -> str:
    """Standard output of the command."""
    environment = os.environ | {"WANDB_MODE": "disabled"}
    ended = subprocess.run(
        [sys.executable, "-m", "jobs.cli", *words], capture_output=True, text=True, env=environment, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_a_claim_is_trained_judged_and_told_and_goes_on_where_it_stopped(tmp_path):
    train = {"steps": 2, "batch_size": 8, "checkpoint_every": 2}
    experiment = {"features": FEATURES, "model": MODEL, "train": train, "data": {"workers": 0}}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(experiment))
    judged = {"evaluate": ["evaluate.measures=[{kind: alignment}]"]}
    claim = {
        "claim": "Two layers align better than one",
        "source": "nobody",
        "better": "two",
        "experiments": {"small": "small.yaml"},
        "figure": {"table": "alignment", "row": "model", "column": "accuracy"},
        "sides": {"two": judged, "one": judged | {"small": ["model.layers=1"]}},
    }
    (tmp_path / "claim.yaml").write_text(yaml.safe_dump(claim))
    for split in ("train", "validation", "test"):
        write_shard_set(tmp_path / split, 8, seed=len(split))
    sets = [word for split in ("train", "validation", "test") for word in (f"--{split}", str(tmp_path / split))]
    words = ["claims", str(tmp_path / "claim.yaml"), *sets, "--out", str(tmp_path / "out"), "--seeds", "1", "--json"]
    found = json.loads(gavt(*words).splitlines()[-1])
    assert found == json.loads((tmp_path / "out/verdicts.json").read_text())
    (verdict,) = found["claims"]
    assert verdict["answer"] == "undecided"
    assert set(verdict["figures"]) == {"two", "one"}
    assert all(0 <= value <= 1 for (value,) in verdict["figures"].values())
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "out").glob("*/config.yaml")}
    assert len(before) == 2
    assert json.loads(gavt(*words).splitlines()[-1]) == found
    assert {file: file.stat().st_mtime_ns for file in before} == before


def test_a_form_without_an_experiment_and_a_side_that_is_none_are_refused_before_anything_runs(tmp_path):
    file = tmp_path / "claim.yaml"
    claim = {
        "claim": "c",
        "source": "s",
        "better": "a",
        "sides": {"a": {}, "b": {}},
        "experiments": {"small": "x.yaml"},
    }
    file.write_text(yaml.safe_dump(claim))
    settings = load_settings(str(file), ClaimSettings).settings
    with pytest.raises(SettingsError, match="experiments: expected one of the form full, found small"):
        trials_of(str(file), settings, "full", 1, [], tmp_path)
    file.write_text(yaml.safe_dump(claim | {"better": "z"}))
    with pytest.raises(SettingsError, match="better as one of the sides a, b, found z"):
        load_settings(str(file), ClaimSettings)
