"""AVATAR's annotated frames: polygons, scenarios, what is off screen, and the sentence that a damaged one ends with."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_score import left, rows

from pipeline.errors import BenchmarkError
from pipeline.evaluate.benchmarks.benchmarks import Wanted, open_benchmark
from pipeline.evaluate.benchmarks.score import score_maps


def instance(task: str, *polygon: int) -> dict[str, Any]:
    drawn = {"segmentation": [list(polygon)], "bbox": [0, 0, 1, 1]} if polygon else {}
    return {"task": task, "audio_visual_category": "dog", **drawn}


def frame(folder: Path, name: str, *instances: dict[str, Any]) -> None:
    path = folder / "metadata" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"original_width": 640, "original_height": 360, "annotations": instances}))


def three_frames(folder: Path) -> Wanted:
    """The left half sounds; the right one does, beside something off screen; all that sounds is off screen."""
    frame(folder, "video_000001/00010", instance("Single-Sound", 0, 0, 319, 0, 319, 359, 0, 359))
    right = instance("Mixed-Sound", 320, 0, 639, 0, 639, 359, 320, 359)
    frame(folder, "video_000001/00020", right, instance("Off-Screen"))
    frame(folder, "video_000002/00001", instance("Off-Screen"))
    return open_benchmark("avatar", str(folder))


def test_polygons_become_the_truth_of_a_frame_and_scenarios_its_kinds(tmp_path: Path) -> None:
    first, second, third = three_frames(tmp_path).samples
    half = np.zeros((224, 224), dtype=bool)
    half[:, :112] = True
    assert [one.id for one in (first, second, third)] == [
        "video_000001/00010",
        "video_000001/00020",
        "video_000002/00001",
    ]
    assert np.array_equal(first.truth(), half)
    assert np.array_equal(second.truth(), ~half)
    assert [one.scenarios for one in (first, second, third)] == [("Single-Sound",), ("Mixed-Sound",), ()]
    assert [one.sounding for one in (first, second, third)] == [True, True, False]


def test_each_scenario_has_a_row_and_what_is_off_screen_should_be_less_sure(tmp_path: Path) -> None:
    wanted = three_frames(tmp_path)
    names = [sample.id for sample in wanted.samples]
    maps = dict(zip(names, (left(2.0), left(2.0), left(1.0)), strict=True))
    found = rows(score_maps(wanted, maps, controls=True))
    assert (found["model"]["ciou"], found["model"]["pointing"], found["model"]["auroc"]) == (0.5, 0.5, 1.0)
    assert found["model, Single-Sound"]["ciou_adap"] == 1.0
    assert found["model, Mixed-Sound"]["ciou_adap"] == 0.0
    assert found["centre disc"]["auroc"] == 0.5
    ceiling = {"pointing": 1.0, "ciou": 1.0, "auc": pytest.approx(0.975), "ciou_adap": 1.0, "auroc": 1.0}
    assert found["ceiling: the truth"] == ceiling
    sure = dict(zip(names, (0.1, 0.2, 0.15), strict=True))
    assert rows(score_maps(wanted, maps, sure))["model"]["auroc"] == 0.5


SIZE = '"original_width": 4, "original_height": 4, "annotations": '


@pytest.mark.parametrize(
    ("annotation", "sentence"),
    [
        ("[", "expected an annotated frame of AVATAR, found something else"),
        ("[]", "expected an annotated frame of AVATAR, found something else"),
        ('{"original_width": 0, "original_height": 1}', "original_width: expected pixels, found 0"),
        (f"{{{SIZE}[]}}", "annotations: expected a list of objects"),
        (
            f'{{{SIZE}[{{"task": "Duet"}}]}}',
            "task: expected one of Single-Sound, Mixed-Sound, Multi-Entity, Off-Screen, found 'Duet'",
        ),
        (
            f'{{{SIZE}[{{"task": "Single-Sound", "segmentation": [[1]]}}]}}',
            "segmentation: expected polygons [x, y, x, y, …], found [[1]]",
        ),
    ],
)
def test_a_damaged_frame_is_named(tmp_path: Path, annotation: str, sentence: str) -> None:
    (tmp_path / "video").mkdir()
    (tmp_path / "video" / "00001.json").write_text(annotation)
    with pytest.raises(BenchmarkError, match=re.escape("video/00001.json: ") + ".*" + re.escape(sentence)):
        open_benchmark("avatar", str(tmp_path))


def test_a_folder_without_annotations_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="expected AVATAR's metadata"):
        open_benchmark("avatar", str(tmp_path))
