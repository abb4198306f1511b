"""A whole evaluation of a small run."""

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_run import tiny_experiment, write_run, write_shards

from pipeline.errors import CheckpointError, SettingsError, ShardSetError
from pipeline.evaluate.localisation import evaluate
from pipeline.evaluate.readouts.build import DEFAULT_READOUT
from pipeline.evaluate.settings import AttentionSettings, EvaluateSettings

CONTROLS = ["centre disc", "mean box", "image saliency", "untrained network", "shuffled audio", "oracle ceiling"]
FIGURES = ("pointing", "ciou", "auc", "ciou_adap", "iiou", "iiou_adap")


def test_every_row_is_there_with_all_its_figures(
    run: str, located_shards: str, validation_shards: str, tmp_path: Path
) -> None:
    settings = EvaluateSettings(batch_size=5, examples=4)
    result = evaluate(run, located_shards, validation_shards, str(tmp_path), settings)
    assert json.loads((tmp_path / "evaluation.json").read_text()) == result
    names = [row["name"] for row in result["rows"]]
    assert names == [*settings.readouts, "model", *CONTROLS]
    rows = {row["name"]: row for row in result["rows"]}
    for row in result["rows"]:
        for figure in FIGURES:
            value = row[figure]  # type: ignore[literal-required]  # names of Row's keys
            assert value is not None, (row["name"], figure)
            assert 0 <= value <= 1
    assert rows["oracle ceiling"]["pointing"] == 1.0
    assert rows["oracle ceiling"]["iiou_adap"] == 1.0
    assert rows["image saliency"]["pointing"] == 1.0  # one orange box on dark noise
    chosen = result["model_readout"]
    pointing = result["validation_pointing"]
    assert pointing[chosen] == max(pointing[name] for name in settings.readouts)
    assert {**rows["model"], "name": chosen, "kind": "readout", "readout": None} == rows[chosen]
    assert rows["model"]["readout"] == rows["shuffled audio"]["readout"] == chosen
    assert (result["samples"], result["located"], result["step"], result["note"]) == (12, 12, 30, None)
    assert result["mma"]["pairs"] == 24


def test_examples_are_kept_for_the_report(run: str, located_shards: str, tmp_path: Path) -> None:
    result = evaluate(run, located_shards, None, str(tmp_path), EvaluateSettings(examples=4, batch_size=3))
    with np.load(tmp_path / "evaluation_maps.npz") as examples:
        assert examples["frames"].shape == (4, 32, 32, 3)
        assert examples["maps"].shape == (4, 32, 32)
        assert examples["truths"].shape == (4, 224, 224)
        assert examples["truths"].any(axis=(1, 2)).all()
        assert examples["keys"].tolist() == [f"sample-{number:04d}" for number in range(4)]
        assert examples["labels"].tolist() == ["violin", "drum", "flute", "piano"]
        assert examples["silent"].tolist() == ["drum", "violin", "piano", "flute"]
        assert str(examples["readout"]) == result["model_readout"]


def test_figures_do_not_depend_on_the_batch_size(run: str, located_shards: str, tmp_path: Path) -> None:
    few = EvaluateSettings(readouts=("attention", "gradient_weighted"), batch_size=5, examples=0)
    rows = [
        evaluate(run, located_shards, None, str(tmp_path), few.model_copy(update={"batch_size": size}))["rows"]
        for size in (5, 12)
    ]
    assert rows[0] == rows[1]


def test_without_a_validation_split_nothing_is_chosen_on_the_reported_one(
    run: str, located_shards: str, tmp_path: Path
) -> None:
    result = evaluate(run, located_shards, None, str(tmp_path), EvaluateSettings())
    assert result["model_readout"] == DEFAULT_READOUT
    assert result["validation_pointing"] == {}
    rows = {row["name"]: row for row in result["rows"]}
    assert rows["mean box"]["pointing"] is None


def test_data_without_boxes_is_judged_by_alignment_only(
    run: str, unlabelled_shards: str, validation_shards: str, tmp_path: Path
) -> None:
    result = evaluate(run, unlabelled_shards, validation_shards, str(tmp_path), EvaluateSettings())
    assert result["located"] == 0
    assert result["note"] is not None
    assert "has no boxes" in result["note"]
    assert all(row[figure] is None for row in result["rows"] for figure in FIGURES)  # type: ignore[literal-required]
    assert result["mma"]["accuracy"] is not None
    assert result["mma"]["ceiling"] is None
    with np.load(tmp_path / "evaluation_maps.npz") as examples:  # maps are still worth looking at
        assert len(examples["keys"]) == 9
        assert not examples["truths"].any()


def test_samples_without_groups_have_no_iiou(run: str, tmp_path: Path) -> None:
    rows = [{"labels": ["drum"], "boxes": [[0.4, 0.2, 0.6, 0.6]]} for _ in range(4)]
    url = write_shards(tmp_path / "shards", [*rows, {"labels": ["drum"], "boxes": []}])
    result = evaluate(run, url, None, str(tmp_path), EvaluateSettings(readouts=("attention",)))
    assert (result["samples"], result["located"]) == (5, 4)
    assert all(row["iiou"] is None and row["iiou_adap"] is None for row in result["rows"])


def test_maps_over_the_spectrogram_have_no_figures(run: str, located_shards: str, tmp_path: Path) -> None:
    settings = EvaluateSettings(
        readouts=("attention", "gradient_weighted"), attention=AttentionSettings(perspective="audio"), max_samples=4
    )
    result = evaluate(run, located_shards, located_shards, str(tmp_path), settings)
    rows = {row["name"]: row for row in result["rows"]}
    assert rows["attention"]["pointing"] is None
    assert rows["gradient_weighted"]["pointing"] is not None
    assert result["model_readout"] == "gradient_weighted"
    assert result["samples"] == 4


def test_wrong_inputs_are_said(run: str, located_shards: str, tmp_path: Path) -> None:
    settings = EvaluateSettings()
    with pytest.raises(CheckpointError, match="expected a run folder or a checkpoint"):
        evaluate(str(tmp_path / "none"), located_shards, None, str(tmp_path), settings)
    with pytest.raises(ShardSetError, match=r"expected a folder of shards with a dataset\.json"):
        evaluate(run, str(tmp_path / "none"), None, str(tmp_path), settings)
    no_such_layer = EvaluateSettings(attention=AttentionSettings(layer=9))
    with pytest.raises(SettingsError, match=r"evaluate\.attention\.layer: expected mean or 1 to 2, found 9"):
        evaluate(run, located_shards, None, str(tmp_path), no_such_layer)
    other = tiny_experiment().model_copy(
        update={"features": tiny_experiment().features.model_copy(update={"audio_samples": 8191})}
    )
    longer = write_run(tmp_path / "longer", other)
    with pytest.raises(ShardSetError, match="expected 8191 audio samples at 8000 Hz"):
        evaluate(longer, located_shards, None, str(tmp_path), settings)
