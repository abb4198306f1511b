"""A system from outside is planned, tried, handed on, judged and reported by the same verbs as the project's own."""

import json

import pytest
import torch
from safetensors.torch import load_file

from toy_system.command import weights

STEPS = 6


@pytest.fixture(scope="module")
def export(gavt, run, tmp_path_factory):
    """Folder of what was exported."""
    folder = tmp_path_factory.mktemp("export") / "export"
    gavt("checkpoint", "export", run, "--out", folder)
    return folder


@pytest.fixture(scope="module")
def evaluation(gavt, export, tmp_path_factory):
    """What `gavt evaluate` says of the export, and the folder of its files."""
    out = tmp_path_factory.mktemp("evaluation")
    return gavt.json("evaluate", export, "--data", gavt.data, "--out", out), out


def table(evaluation, measure):
    (found,) = (one for one in evaluation["tables"] if one["measure"] == measure)
    return found


def rows(evaluation, measure):
    return {row["name"]: row["values"] for row in table(evaluation, measure)["rows"]}


def test_its_settings_are_shown_and_misspelt_ones_refused_in_a_sentence(gavt):
    shown = gavt.json("config", "show", gavt.config)["settings"]
    assert shown["model"]["kind"] == "three_streams"
    assert shown["features"]["inputs"] == {"corners": {"kind": "corners"}}
    _, err = gavt("config", "show", gavt.config, "model.patches=4", code=2)
    assert "model.patches" in err
    assert "did you mean" in err
    assert "model.patch" in err


def test_without_the_extension_the_kind_is_unknown_and_that_is_said(gavt, run, tmp_path):
    for words in (("config", "show", gavt.config), ("checkpoint", "export", run, "--out", tmp_path / "export")):
        _, err = gavt(*words, extensions="", code=2)
        assert "features.inputs.corners.kind" in err
        assert "a module in GAVT_EXTENSIONS" in err
    assert not (tmp_path / "export").exists()


def test_it_is_planned_by_its_own_parts_and_its_teacher_costs_no_optimiser(gavt):
    plan = gavt.json("plan", gavt.config, "--gpus", "2", "--gpu", "h100")
    parts = plan["parameters"]
    assert {"patches", "windows", "points", "positions", "layers", "head"} <= parts.keys()
    trained = sum(parts.values()) - parts["teacher"]
    without = next(way["memory"] for way in plan["ways"] if way["stage"] == 0 and way["checkpointing"] == "none")
    assert without["optimizer"] == pytest.approx(8 * trained)
    assert plan["flops"]["parts"]["layers"] > 0


def test_a_dry_run_trains_it_on_noise_of_its_own_fields(gavt):
    found = gavt.json("train", gavt.config, "--dry-run", "train.zero_stage=2")
    assert found["finite"]
    assert len(found["losses"]) == 2


def test_its_export_has_its_weights(run, export):
    ours, theirs = load_file(export / "model.safetensors"), weights(run, STEPS)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_it_is_judged_by_its_own_measure_and_read_out_by_its_own_readout(evaluation):
    found, _ = evaluation
    assert rows(found, "notice")["guessing"] == {"surer": 0.5, "change": None}
    assert rows(found, "notice")["model"]["change"] > 0
    readouts = {row["name"]: row["values"] for row in table(found, "localisation")["rows"] if row["kind"] == "readout"}
    assert readouts.keys() == {"points_look", "attention"}  # one of the project's own reads it too
    assert all(0 <= values["pointing"] <= 1 for values in readouts.values())


def test_two_processes_judge_the_run_as_one_does_its_export(gavt, run, evaluation, tmp_path):
    words = (run, "--data", gavt.data, "--out", tmp_path, "--nproc", 2)
    assert gavt.json("evaluate", *words)["tables"] == evaluation[0]["tables"]


def test_a_video_has_no_corners_and_so_its_maps_are_refused_in_a_sentence(gavt, export, tmp_path):
    _, err = gavt("localize", tmp_path / "video.mp4", "--checkpoint", export, "--out", tmp_path / "out", code=2)
    assert "found one that takes frames, sound, corners" in err


def test_its_report_names_its_figures(gavt, run, evaluation):
    _, out = evaluation
    (run / "evaluation.json").write_text((out / "evaluation.json").read_text())
    gavt("report", run)
    page = (run / "report.html").read_text()
    for word in ("told", "distance", "surer where they are", "keypoints are moved by 0.25 of the width", "points_look"):
        assert word in page


def test_two_of_its_runs_are_compared_by_its_figures(gavt, run):
    found = gavt.json("compare", run, run)
    assert {"loss", "told", "distance", "validation/told"} <= set(json.dumps(found).replace('"', " ").split())
