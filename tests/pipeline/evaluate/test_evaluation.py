"""A whole evaluation of a small run."""

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.errors import CheckpointError, SettingsError, ShardSetError
from pipeline.evaluate.evaluate import evaluate
from pipeline.evaluate.measures.contract import Row, Table, tables_of
from pipeline.evaluate.registry import DEFAULT_READOUT, RetrievalSettings
from pipeline.evaluate.result import Evaluation
from pipeline.evaluate.sample_scores import read_scores
from pipeline.evaluate.settings import AttentionSettings, EvaluateSettings
from pipeline.tasks.mma_settings import MmaSettings
from tiny_run import located_rows, tiny_experiment, write_run, write_shards

CONTROLS = ["centre disc", "mean box", "image saliency", "untrained network", "shuffled audio", "oracle ceiling"]
FIGURES = ("pointing", "ciou", "auc", "ciou_adap", "iiou", "iiou_adap")


def table(result: Evaluation, measure: str = "localisation") -> Table:
    return next(one for one in tables_of(result) if one.measure == measure)


def rows_of(result: Evaluation, measure: str = "localisation") -> dict[str, Row]:
    return {row.name: row for row in table(result, measure).rows}


def test_every_row_is_there_with_all_its_figures(
    run: str, located_shards: str, validation_shards: str, tmp_path: Path
) -> None:
    settings = EvaluateSettings(batch_size=5, examples=4)
    result = evaluate(run, located_shards, validation_shards, str(tmp_path), settings)
    assert json.loads((tmp_path / "evaluation.json").read_text()) == result
    rows = rows_of(result)
    others = ("similarity", "separation_energy", "class_maps", "token_maps")  # of other objectives and models
    readouts = [name for name in settings.readouts if name not in others]
    assert list(rows) == [*readouts, "model", *CONTROLS]
    for row in rows.values():
        assert set(row.values) == set(FIGURES)
        for figure, value in row.values.items():
            assert value is not None, (row.name, figure)
            assert 0 <= value <= 1
    assert rows["oracle ceiling"].values["pointing"] == 1.0
    assert rows["oracle ceiling"].values["iiou_adap"] == 1.0
    assert rows["image saliency"].values["pointing"] == 1.0  # one orange box on dark noise
    details = table(result).details
    chosen, pointing, extent = (details[name] for name in ("readout", "validation_pointing", "validation_ciou_adap"))
    assert pointing[chosen] + extent[chosen] == max(pointing[name] + extent[name] for name in readouts)
    assert replace(rows["model"], name=chosen, kind="readout", made_by=None) == rows[chosen]
    for name in ("integrated_gradients", "untrained network" if chosen == "integrated_gradients" else "model"):
        integrated = rows[name].made_by in (None, "integrated_gradients")
        assert (rows[name].details["completeness"] is not None) == integrated
    assert rows["model"].made_by == rows["shuffled audio"].made_by == chosen
    assert (result["samples"], table(result).samples, result["step"], result["left_out"]) == (12, 12, 30, [])
    assert table(result, "alignment").details["pairs"] == 24
    assert result["warnings"] == []


def test_examples_are_kept_for_the_report(run: str, located_shards: str, tmp_path: Path) -> None:
    result = evaluate(run, located_shards, None, str(tmp_path), EvaluateSettings(examples=4, batch_size=3))
    with np.load(tmp_path / "evaluation_maps.npz") as examples:
        assert examples["frames"].shape == (4, 32, 32, 3)
        assert examples["maps"].shape == (4, 32, 32)
        assert examples["truths"].shape == (4, 224, 224)
        assert examples["truths"].any(axis=(1, 2)).all()
        assert examples["keys"].tolist() == [f"sample-{number:04d}" for number in range(4)]
        keys, hits, ciou_adap = examples["keys"], examples["hits"], examples["ciou_adap"]
        assert examples["labels"].tolist() == ["violin", "drum", "flute", "piano"]
        assert examples["silent"].tolist() == ["drum", "violin", "piano", "flute"]
        assert str(examples["readout"]) == table(result).details["readout"]
        starts = [0, *examples["sound_ends"][:-1]]
        sounds = [examples["sounds"][one:end] for one, end in zip(starts, examples["sound_ends"], strict=True)]
    for sound in sounds:
        with av.open(io.BytesIO(sound.tobytes())) as container:
            assert sum(frame.samples for frame in container.decode(audio=0)) == pytest.approx(4095, abs=1200)
    of_all = read_scores(str(tmp_path))["localisation"]  # of the same row
    places = [of_all.ids.index(key) for key in keys]
    assert hits.tolist() == of_all.values["model"]["pointing"].values[places].tolist()
    assert (ciou_adap >= 0.5).tolist() == of_all.values["model"]["ciou_adap"].values[places].astype(bool).tolist()


def test_a_measure_that_is_asked_for_twice_keeps_both_tables_and_scores(
    run: str, located_shards: str, tmp_path: Path
) -> None:
    asked = (RetrievalSettings(), RetrievalSettings(pool=4))
    result = evaluate(run, located_shards, None, str(tmp_path), EvaluateSettings(measures=asked))
    names = [table["measure"] for table in result["tables"]]
    first = ["retrieval_frame_to_sound", "retrieval_sound_to_frame"]
    assert names == [*first, *(f"{name}-2" for name in first)]
    scores = read_scores(str(tmp_path))
    assert list(scores) == names
    for name, found in zip(names, result["tables"], strict=True):
        assert scores[name].figures("model") == pytest.approx(found["rows"][0]["values"])


def test_figures_do_not_depend_on_the_batch_size(run: str, located_shards: str, tmp_path: Path) -> None:
    few = EvaluateSettings(readouts=("attention", "gradient_weighted"), batch_size=5, examples=0)
    results = [
        evaluate(run, located_shards, None, str(tmp_path), few.model_copy(update={"batch_size": size}))
        for size in (5, 12)
    ]
    assert results[0] == results[1]


def test_without_a_validation_split_nothing_is_chosen_on_the_reported_one(
    run: str, located_shards: str, tmp_path: Path
) -> None:
    result = evaluate(run, located_shards, None, str(tmp_path), EvaluateSettings())
    assert table(result).details["readout"] == DEFAULT_READOUT
    assert table(result).details["validation_pointing"] == {}
    assert rows_of(result)["mean box"].values["pointing"] is None


def test_data_without_boxes_is_judged_by_alignment_only(
    run: str, unlabelled_shards: str, validation_shards: str, tmp_path: Path
) -> None:
    result = evaluate(run, unlabelled_shards, validation_shards, str(tmp_path), EvaluateSettings())
    located = table(result)
    assert (located.samples, located.rows) == (0, ())
    assert "has no boxes" in located.notes[0]
    aligned = rows_of(result, "alignment")
    assert aligned["model"].values["accuracy"] is not None
    assert aligned["ceiling"].values["accuracy"] is None
    with np.load(tmp_path / "evaluation_maps.npz") as examples:  # maps are still worth looking at
        assert len(examples["keys"]) == 9
        assert not examples["truths"].any()


def test_samples_without_groups_have_no_iiou(run: str, tmp_path: Path) -> None:
    rows = [{"labels": ["drum"], "boxes": [[0.4, 0.2, 0.6, 0.6]]} for _ in range(4)]
    odd = [{"labels": ["drum"], "boxes": boxes} for boxes in ([[0.2, 1.0, 0.7, 1.0]], [])]
    url = write_shards(tmp_path / "shards", [*rows, *odd])
    result = evaluate(run, url, None, str(tmp_path), EvaluateSettings(readouts=("attention",)))
    assert (result["samples"], table(result).samples) == (6, 5)  # what sounds is not seen in the last one
    assert rows_of(result)["centre disc"].values["pointing"] == 0.8
    assert "the boxes of 1 samples have no area" in result["warnings"][0]
    assert all(row.values["iiou"] is None and row.values["iiou_adap"] is None for row in table(result).rows)


def test_maps_over_the_spectrogram_have_no_figures(run: str, located_shards: str, tmp_path: Path) -> None:
    settings = EvaluateSettings(
        readouts=("attention", "gradient_weighted"), attention=AttentionSettings(perspective="audio"), max_samples=4
    )
    result = evaluate(run, located_shards, located_shards, str(tmp_path), settings)
    rows = rows_of(result)
    assert rows["attention"].values["pointing"] is None
    assert rows["gradient_weighted"].values["pointing"] is not None
    assert table(result).details["readout"] == "gradient_weighted"
    assert result["samples"] == 4


def test_the_geometry_and_the_resize_are_told_and_change_figures(
    run: str, located_shards: str, validation_shards: str, tmp_path: Path
) -> None:
    def judged(**settings: object) -> Evaluation:
        chosen = EvaluateSettings.model_validate({"readouts": ["token_gradient"], **settings})
        return evaluate(run, located_shards, validation_shards, str(tmp_path), chosen)

    default, centre = judged(), judged(geometry="centre")
    told = [(one["geometry"], one["alignment_geometry"], one["align_corners"]) for one in (default, centre)]
    assert told == [("squash", "centre", False), ("centre", "centre", False)]
    assert judged(geometry="squash")["tables"][1] == default["tables"][1]
    assert judged(geometry="letterbox")["alignment_geometry"] == "letterbox"

    def row(result: Evaluation, name: str) -> Row:
        return rows_of(result)[name]

    for name in ("centre disc", "mean box", "oracle ceiling"):  # they are judged as the model's maps are
        assert row(default, name) != row(centre, name)
    corners = judged(align_corners=True)
    assert corners["align_corners"]
    assert row(corners, "oracle ceiling") != row(default, "oracle ceiling")
    assert row(corners, "centre disc") == row(default, "centre disc")  # drawn at full size


def test_maps_that_are_not_finite_are_failures_and_counted(
    located_shards: str, validation_shards: str, tmp_path: Path
) -> None:
    spoilt = write_run(tmp_path / "run", tiny_experiment(), spoil=True)
    result = evaluate(spoilt, located_shards, validation_shards, str(tmp_path), EvaluateSettings(batch_size=5))
    rows = rows_of(result)
    for name in ("token_gradient", "gradient_weighted", "integrated_gradients", "region_occlusion"):
        assert rows[name].details["not_finite"] == 12
        assert (rows[name].values["pointing"], rows[name].values["ciou_adap"]) == (0, 0)
        assert f"12 maps of {name} are not finite (NaN or infinite): they count as failures" in result["warnings"]
    assert rows["attention"].details["not_finite"] == rows["centre disc"].details["not_finite"] == 0
    assert rows_of(result, "alignment")["model"].values["accuracy"] == 0
    assert table(result, "alignment").details["not_finite"] == 24 + 2 * 12
    assert rows["integrated_gradients"].details["completeness"] is None


def test_a_validation_split_that_is_judged_too_is_said(
    run: str, located_shards: str, validation_shards: str, tmp_path: Path
) -> None:
    few = EvaluateSettings(readouts=("attention",), max_samples=6)
    copied = str(shutil.copytree(located_shards, tmp_path / "copied"))
    for other, shared in ((located_shards, 6), (copied, 6), (validation_shards, 0)):
        warnings = evaluate(run, located_shards, other, str(tmp_path), few)["warnings"]
        expected = f"{shared} of 6 samples are also in the validation split"
        assert [expected in sentence for sentence in warnings] == [True] * (shared > 0)
    same_videos = [{**row, "video": f"video-0-{number}"} for number, row in enumerate(located_rows(6))]
    for number, row in enumerate(same_videos):
        row["source"] = f"world-0/sample-{number:04d}.mp4" if number < 2 else f"elsewhere/{number}.mp4"
    others = write_shards(tmp_path / "others", same_videos, seed=9)  # other frames and sounds of two of the videos
    (sentence,) = evaluate(run, located_shards, others, str(tmp_path), few)["warnings"]
    assert sentence.startswith("2 of 6 samples")


def test_shuffled_audio_is_left_out_where_all_sound_alike(run: str, tmp_path: Path) -> None:
    rows = [{"labels": ["drum"], "boxes": [[0.4, 0.2, 0.6, 0.6]]} for _ in range(3)]
    url = write_shards(tmp_path / "shards", rows)
    result = evaluate(run, url, None, str(tmp_path), EvaluateSettings(readouts=("attention",)))
    assert rows_of(result)["shuffled audio"].values["pointing"] is None
    assert "shuffled audio was left out: for 3 samples" in result["warnings"][0]


@pytest.mark.parametrize("negatives", ["any", "unlike"])
def test_what_labels_helped_with_is_said(negatives: str, located_shards: str, tmp_path: Path) -> None:
    task = MmaSettings.model_validate({"negatives": negatives})
    helped = write_run(tmp_path / "run", tiny_experiment().model_copy(update={"task": task}))
    result = evaluate(helped, located_shards, None, str(tmp_path), EvaluateSettings(readouts=("attention",)))
    assert (result["label_aided"] is not None) == (negatives == "unlike")
    assert result["label_aided"] is None or result["label_aided"].startswith("label-aided: class names chose")


def test_wrong_inputs_are_said(run: str, located_shards: str, tmp_path: Path) -> None:
    settings = EvaluateSettings()
    with pytest.raises(CheckpointError, match="expected a run folder or a checkpoint"):
        evaluate(str(tmp_path / "none"), located_shards, None, str(tmp_path), settings)
    with pytest.raises(ShardSetError, match=r"expected a folder of shards with a dataset\.json"):
        evaluate(run, str(tmp_path / "none"), None, str(tmp_path), settings)
    no_such_layer = EvaluateSettings(attention=AttentionSettings(layer=9))
    with pytest.raises(SettingsError, match=r"evaluate\.attention\.layer: expected mean, rollout or 1 to 2, found 9"):
        evaluate(run, located_shards, None, str(tmp_path), no_such_layer)
    other = tiny_experiment().model_copy(
        update={"features": tiny_experiment().features.model_copy(update={"audio_samples": 8191})}
    )
    longer = write_run(tmp_path / "longer", other)
    with pytest.raises(ShardSetError, match="expected 8191 audio samples at 8000 Hz"):
        evaluate(longer, located_shards, None, str(tmp_path), settings)
