"""Maps that another's model made: judged by arrays as the command judges a file."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from jobs.cli import main
from pipeline import api as gavt

BOXES = {
    "zpWuikVorYg_000032": [[0.1, 0.1, 0.6, 0.7]],
    "abcdefghijk_000002": [[0.5, 0.2, 0.9, 0.9], [0.0, 0.0, 0.2, 0.2]],
}


def maps() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {name: generator.random((7, 7)) for name in BOXES}


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """VGG-SS' list of the boxes."""
    rows = [{"file": name, "class": "x", "bbox": boxes} for name, boxes in BOXES.items()]
    (tmp_path / "vggss.json").write_text(json.dumps(rows))
    return tmp_path / "vggss.json"


def test_they_score_what_the_command_says(listed: Path, capfd: pytest.CaptureFixture[str]) -> None:
    np.savez(listed.with_name("maps.npz"), **maps())
    words = ["score", str(listed.with_name("maps.npz")), "--benchmark", "vggss", "--list", str(listed), "--controls"]
    with pytest.raises(SystemExit, match="^0$"):
        main([*words, "--json"])
    said = json.loads(capfd.readouterr().out.splitlines()[-1])
    found = gavt.score_maps(maps(), "vggss", listed, controls=True)
    assert [row.values for row in found.table.rows] == [row["values"] for row in said["tables"][0]["rows"]]


def test_boxes_of_ones_own_give_the_figures_of_the_same_boxes_in_a_list(listed: Path) -> None:
    of_list, of_boxes = gavt.score_maps(maps(), "vggss", listed), gavt.score_boxes(maps(), BOXES)
    assert of_boxes.table.rows == of_list.table.rows
    assert of_boxes.table.rows[0].kind == "model"
    assert of_boxes.coverage == of_list.coverage


def test_an_image_of_several_sounds_counts_once_all_are_localised() -> None:
    left, right = np.zeros((2, 7, 7))
    left[:, :3], right[:, 4:] = 1, 1
    boxes = {"a": [[0.0, 0.0, 3 / 7, 1.0]], "b": [[4 / 7, 0.0, 1.0, 1.0]]}
    for other, expected in ((right, 1.0), (left, 0.0)):
        found = gavt.score_boxes({"a": left, "b": other}, boxes, images=dict.fromkeys(boxes, "image"))
        assert found.table.rows[0].values["iiou_adap"] == expected


def test_tensors_and_lists_are_maps_too() -> None:
    expected = gavt.score_boxes(maps(), BOXES).table.rows
    assert (
        gavt.score_boxes({name: torch.from_numpy(heat) for name, heat in maps().items()}, BOXES).table.rows == expected
    )
    assert gavt.score_boxes({name: heat.tolist() for name, heat in maps().items()}, BOXES).table.rows == expected


def test_what_can_not_be_judged_is_said_in_one_sentence(listed: Path) -> None:
    for ask, sentence in (
        (lambda: gavt.score_maps(maps(), "x", listed), "benchmark: expected one of vggss"),
        (lambda: gavt.score_maps({"x": [[1.0]]}, "vggss", listed), r"\S*vggss\.json: expected maps by its ids such as"),
        (lambda: gavt.score_boxes(maps(), {}), "boxes: expected some of each sample, found none"),
        (
            lambda: gavt.score_boxes(maps(), {"a": [[0, 0, 224, 224]]}),
            "boxes of a: expected x1 < x2 and y1 < y2 in 0–1",
        ),
        (lambda: gavt.score_boxes(maps(), {"a": [[0.1, 0.2]]}), "boxes of a: expected x1 < x2"),
        (lambda: gavt.score_boxes({"a": [1.0]}, {"a": [[0, 0, 1, 1]]}), r"a: expected a map \[h, w\] of numbers"),
        (lambda: gavt.score_boxes({"a": [[1.0], [1.0, 2.0]]}, {"a": [[0, 0, 1, 1]]}), r"a: expected a map \[h, w\]"),
        (lambda: gavt.score_boxes(maps(), {"a": [0, 0, 1, 1]}), r"boxes of a: expected a list of \[x1, y1, x2, y2\]"),
        (
            lambda: gavt.score_maps(maps(), "vggss", listed, confidences={"zpWuikVorYg_000032": 1.0}),
            "confidences: 'abcdefghijk_000002': expected a finite number, found None",
        ),
        (lambda: gavt.score_maps(maps(), "extended-vggss", listed), "extended-vggss: pairs: expected its list"),
    ):
        with pytest.raises(gavt.BenchmarkError, match=f"^{sentence}") as caught:
            ask()
        assert "\n" not in str(caught.value)
