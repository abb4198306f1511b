"""Several runs judged on one set: read once, and what they say together."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import RunError
from pipeline.evaluate.coverage import Coverage
from pipeline.evaluate.evaluate import RunToJudge, evaluate, evaluate_runs
from pipeline.evaluate.measures.contract import Column, Row, Table, as_json, tables_of
from pipeline.evaluate.over_runs import names_of, over_runs, said_of_labels, tables_over_runs
from pipeline.evaluate.result import LABEL_FREE, Evaluation
from pipeline.evaluate.sample_scores import read_scores
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.experiment import ExperimentSettings
from pipeline.stream import reader
from tiny_run import NAMES, located_rows, tiny_experiment, tiny_separator, write_run, write_shards

COLUMNS = (Column("right", "right"), Column("sure", "sure"))


def table(rows: dict[str, tuple[float | None, float | None]], measure: str = "m", **more: Any) -> Table:
    made = [Row(name, "model", {"right": right, "sure": sure}) for name, (right, sure) in rows.items()]
    return Table(measure, f"title of {measure}", COLUMNS, tuple(made), 4, **more)


def test_a_row_has_the_mean_half_of_students_interval_and_each_runs_value() -> None:
    runs = [[table({"model": (right, 0.5)})] for right in (0.1, 0.2, 0.3)]
    (found,) = tables_over_runs(runs, ["a", "b", "c"])
    (row,) = found.rows
    assert row.values == {"right": pytest.approx(0.2), "sure": 0.5}
    assert row.spread == {"right": pytest.approx(4.303 * 0.1 / 3**0.5), "sure": 0.0}
    assert row.of_runs == {"right": [0.1, 0.2, 0.3], "sure": [0.5, 0.5, 0.5]}


def test_what_others_published_is_shown_as_it_is() -> None:
    published = Row("theirs", "other", {"right": 0.344, "sure": None}, {"right": 0.01}, "their paper")
    runs = [[replace(table({"model": (right, 0.5)}), rows=(published,))] for right in (0.1, 0.2)]
    ((row,),) = (found.rows for found in tables_over_runs(runs, ["a", "b"]))
    assert row == published


def test_what_one_run_lacks_has_no_mean_and_is_told() -> None:
    one = table({"model": (0.1, None), "only here": (1.0, 1.0)}, notes=("said of all", "of a"), warnings=("w",))
    other = table({"model": (0.3, 0.4)}, notes=("said of all", "of b"))
    (found,) = tables_over_runs([[one], [other]], ["a", "b"])
    (row,) = found.rows
    assert row.values["sure"] is None
    assert row.of_runs["sure"] == [None, 0.4]
    assert "rows that not all runs have are left out: only here" in found.notes
    assert "said of all" in found.notes
    assert "of a" not in found.notes
    assert found.warnings == ("a: w",)


def test_tables_of_one_measure_are_told_apart_by_their_order() -> None:
    runs = [[table({"model": (value, 0.0)}), table({"model": (1 - value, 0.0)})] for value in (0.2, 0.4)]
    first, second = tables_over_runs(runs, ["a", "b"])
    assert (first.rows[0].values["right"], second.rows[0].values["right"]) == (pytest.approx(0.3), pytest.approx(0.7))


def test_runs_that_were_judged_by_nothing_in_common_are_refused() -> None:
    with pytest.raises(RunError, match=r"no table in common: a has m; b has n"):
        tables_over_runs([[table({}, "m")], [table({}, "n")]], ["a", "b"])


def evaluation(**words: Any) -> Any:
    plain = Evaluation(
        tables=[],
        left_out=[],
        warnings=[],
        samples=4,
        coverage=Coverage(wanted=None, found=None, missing={}, samples=4, judged=4),
        label_aided=None,
        geometry="squash",
        alignment_geometry="centre",
        training_geometry="square crops",
        align_corners=False,
        checkpoint="a",
        step=1,
        data="shards",
        validation=None,
    )
    return {**plain, **words}


@pytest.mark.parametrize(("name", "value"), [("data", "other/shards"), ("samples", 5), ("geometry", "centre")])
def test_evaluations_of_other_samples_or_in_another_way_are_refused(name: str, value: object) -> None:
    with pytest.raises(RunError, match=f"^b: expected to be judged with {name} = .* as a was, found {value}$"):
        over_runs([evaluation(), evaluation(checkpoint="b", **{name: value})], ["a", "b"])


def test_evaluations_of_different_splits_have_a_mean_over_all_their_samples() -> None:
    splits = [
        evaluation(
            tables=as_json([table({"model": (right, right)})]),
            coverage=Coverage(wanted=5, found=4, missing={"silent": 1}, samples=4, judged=4),
            data=f"test{number}",
        )
        for number, right in enumerate((0.5, 0.7, 0.6), 1)
    ]
    found = over_runs(splits, ["a", "b", "c"], splits=True)
    assert (found["samples"], found["data"], found["validation"]) == (12, "test1, test2, test3", None)
    assert found["coverage"] == Coverage(wanted=15, found=12, missing={"silent": 3}, samples=12, judged=12)
    assert tables_of(found)[0].rows[0].values["right"] == pytest.approx(0.6)
    with pytest.raises(RunError, match="expected to be judged with geometry"):
        over_runs([splits[0], splits[1] | {"geometry": "centre"}], ["a", "b"], splits=True)


def test_whether_labels_helped_is_said_of_the_runs_that_they_helped() -> None:
    aided = {"name": "a", "label_aided": "label-aided: x"}
    free = {"name": "b", "label_aided": None}
    assert said_of_labels({"runs": [aided, free]}) == ["a: label-aided: x", f"b: {LABEL_FREE}"]
    assert said_of_labels({"runs": [free, {**free, "name": "c"}]}) == [LABEL_FREE]


def test_runs_are_named_by_their_last_folder_unless_others_end_alike() -> None:
    assert names_of(["runs/a", "runs/b/", "s3://x/c"]) == ["a", "b", "c"]
    assert names_of(["x/a", "y/a", "y/b"]) == ["x/a", "y/a", "b"]


def test_each_sample_is_decoded_once_for_all_runs_and_each_is_judged_as_if_alone(
    validation_shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_shards(tmp_path / "shards", located_rows(6), seed=7)
    experiment = tiny_experiment(data, validation_shards)
    other = experiment.model_dump(mode="json")
    other["features"]["frame_size"] = 64  # sees other inputs
    runs = [
        write_run(tmp_path / "a", experiment, seed=1),
        write_run(tmp_path / "b", type(experiment).model_validate(other), seed=1),
        write_run(tmp_path / "c", experiment, seed=2),
    ]
    settings = EvaluateSettings(readouts=("class_token",), examples=2)
    alone = [evaluate(run, data, validation_shards, str(tmp_path / "alone"), settings) for run in runs]
    decoded: Counter[str] = Counter()
    decode = reader.decode_sample

    def counted(sample: Any, *words: Any) -> Any:
        decoded[sample.metadata.video] += 1
        return decode(sample, *words)

    monkeypatch.setattr(reader, "decode_sample", counted)
    asked = [RunToJudge(run, run) for run in runs]
    found = evaluate_runs(asked, data, validation_shards, str(tmp_path / "together"), settings)
    assert set(decoded.values()) == {2}  # once for a and c
    assert found == alone
    assert [one["checkpoint"].startswith(run) for one, run in zip(found, runs, strict=True)] == [True] * 3
    localisation = next(one for one in tables_of(over_runs(found, runs)) if one.measure == "localisation")
    assert len(localisation.rows[0].of_runs["pointing"]) == 3


def test_the_means_of_the_samples_scores_are_the_figures_of_the_tables(tmp_path: Path) -> None:
    data = write_shards(tmp_path / "shards", located_rows(10))
    several = tiny_separator().model_dump(mode="json")
    several["task"] = {
        "kind": "several",
        "tasks": {
            "labels": {"task": {"kind": "classification", "classes": list(NAMES)}},
            "apart": {"task": several["task"]},
            "pairs": {"task": {"kind": "mma"}},
        },
    }
    run = write_run(tmp_path / "run", ExperimentSettings.model_validate(several))
    settings = EvaluateSettings(readouts=("separation_energy",))
    tables = {one.measure: one for one in tables_of(evaluate(run, data, data, run, settings))}
    scores = read_scores(run)
    told = {"alignment", "localisation", "off_screen", "classification", "separation", "separation_any"}
    assert set(scores) == told
    for measure, of_samples in scores.items():
        rows = {row.name: row.values for row in tables[measure].rows}
        for row in of_samples.values:
            figures = {column: rows[row][column] for column in of_samples.columns}
            assert of_samples.figures(row) == pytest.approx(figures, abs=1e-9), (measure, row)
