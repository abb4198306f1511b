"""Scores of maps on small lists: by hand, with maps missing and damaged, and by the command."""

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from test_lists import OTHER, PART, vggss, write

from jobs.cli import main
from jobs.score import BenchmarkName
from pipeline.errors import BenchmarkError
from pipeline.evaluate.benchmarks.benchmarks import BENCHMARKS, Wanted, open_benchmark
from pipeline.evaluate.benchmarks.map_file import MapFile
from pipeline.evaluate.benchmarks.score import BenchmarkScore, score_maps

Map = npt.NDArray[np.float64]


def left(share: float) -> Map:
    """Highest at the left edge; rows differ a little, so that no two values are equal."""
    columns = np.linspace(1, 0, 224)
    return np.tile(columns, (224, 1)) * share + np.linspace(0, 1e-6, 224)[:, None]


def rows(score: BenchmarkScore) -> dict[str, dict[str, float | None]]:
    return {row.name: row.values for row in score.table.rows}


def duet(folder: Path) -> Wanted:
    """Two instruments, each half of the frame."""
    entry = {"file": "v", "class_src1": "cello", "bbox_src1": [0.0, 0.0, 0.5, 1.0]}
    path = write(folder, "duet.json", [{**entry, "class_src2": "flute", "bbox_src2": [0.5, 0.0, 0.5, 1.0]}])
    return open_benchmark("music-duet", path)


def test_figures_of_a_hand_worked_list(tmp_path: Path) -> None:
    listed = [
        {"file": PART, "class": "elk", "bbox": [[0.0, 0.0, 0.5, 1.0]]},
        {"file": OTHER, "class": "elk", "bbox": [[0.75, 0.0, 1.0, 1.0]]},
    ]
    wanted = open_benchmark("vggss", write(tmp_path, "vggss.json", listed))
    score = score_maps(wanted, {PART: left(1.0), OTHER: left(1.0)}, controls=True)
    # the left half less a pixel against the left half: 1 in 25 088 is lost; the other one is missed
    own = rows(score)["model"]
    assert (own["pointing"], own["ciou"], own["ciou_adap"]) == (0.5, 0.5, 0.5)
    # shares of successes: 1 at 0, a half up to 0.95, none at 1; of the whole left half a half there too
    assert own["auc"] == pytest.approx(0.05 * (1 / 2 + 19 * 0.5))
    from_median = rows(score)["EZ-VSL’s evaluator (≥ median)"]
    assert (from_median["ciou"], from_median["auc"]) == (0.5, pytest.approx(0.05 * (1.5 / 2 + 19 * 0.5)))
    assert rows(score)["ceiling: the truth"]["ciou_adap"] == 1.0
    assert score.sweeps["area"]["ciou"][4] == 0.5  # a quarter of the area: half of the left half
    assert score.coverage.sentence() == "2 of 2 maps found"


def test_official_rows_stand_beside_the_right_ones_where_equal_values_move_them(tmp_path: Path) -> None:
    wanted = open_benchmark(
        "vggss", write(tmp_path, "v.json", [{"file": PART, "class": "elk", "bbox": [[0, 0, 1, 1]]}])
    )
    flat = rows(score_maps(wanted, {PART: np.ones((7, 7))}))
    assert flat["model"]["ciou"] == 0.0  # half the area of a truth of all, less a pixel
    assert flat["LVS’ evaluator (> median)"]["ciou"] == 0.0
    assert flat["EZ-VSL’s evaluator (≥ median)"]["ciou"] == 1.0  # the whole image


def test_missing_maps_and_such_that_are_not_finite_are_counted_and_fail(tmp_path: Path) -> None:
    wanted = open_benchmark("vggss", vggss(tmp_path))
    score = score_maps(wanted, {PART: np.full((4, 4), np.nan), "else": np.ones((2, 2))})
    assert rows(score)["model"] == dict.fromkeys(("pointing", "ciou", "ciou_adap"), 0.0) | {"auc": pytest.approx(0.025)}
    assert score.coverage.sentence() == (
        "1 of 2 maps found, 1 missing: no map of this id, 1 not finite, 1 of unknown ids"
    )
    whole = {PART: wanted.samples[0].truth().astype(np.float32)}
    half = rows(score_maps(wanted, whole))
    assert (half["model"]["ciou_adap"], half["model, missing ones as failures"]["ciou_adap"]) == (1.0, 0.5)


def test_is3_counts_an_image_when_each_of_its_sounds_is_localised(tmp_path: Path) -> None:
    entries = [
        {"image": f"a_{image}_{label}.jpg", "audio": "", "gt_box": box}
        for image in "xy"
        for label, box in (("left", [0, 0, 112, 224]), ("right", [112, 0, 224, 224]))
    ]
    wanted = open_benchmark("is3", write(tmp_path, "is3.json", entries))
    maps = {"a_x_left": left(1.0), "a_x_right": left(-1.0), "a_y_left": left(1.0), "a_y_right": left(1.0)}
    found = rows(score_maps(wanted, maps))["model"]
    assert (found["ciou"], found["iiou"], found["iiou_adap"]) == (0.75, 0.5, 0.5)
    # x lacks a pixel, so it counts up to 0.95; y has nothing on one side, so it counts at 0
    assert found["iauc"] == pytest.approx(0.05 * ((1 + 0.5) / 2 + 18 * 0.5 + (0.5 + 0) / 2))
    del maps["a_y_left"]  # of an image of one sound nothing is said, but IS3's evaluator counts it
    lone = rows(score_maps(wanted, maps))
    assert (lone["model"]["iiou"], lone["IS3’s evaluator"]["iiou"]) == (1.0, 0.5)


def test_duets_are_judged_source_by_source_and_by_the_best_order(tmp_path: Path) -> None:
    wanted = duet(tmp_path)
    right = rows(score_maps(wanted, {"v:cello": left(1.0), "v:flute": left(-1.0)}, controls=True))
    assert (right["model"]["ap"], right["model"]["piap"], right["model"]["ciou"]) == (
        pytest.approx(1.0),
        pytest.approx(1.0),
        1.0,
    )
    swapped = rows(score_maps(wanted, {"v:cello": left(-1.0), "v:flute": left(1.0)}))["model"]
    assert swapped["ap"] == pytest.approx(0.31, abs=0.01)
    assert swapped["piap"] == pytest.approx(1.0)
    assert (swapped["ciou"], swapped["pointing"]) == (0.0, 0.0)
    lone = score_maps(wanted, {"v:flute": left(-1.0)})
    assert rows(lone)["model"]["ap"] is None  # an image without one of its sources is not judged
    assert rows(lone)["model, missing ones as failures"]["ap"] == pytest.approx(0.5)
    assert right["ceiling: the truth"]["ciou_adap"] == 1.0
    assert right["AVGN’s evaluator (boxes as corners)"]["ciou"] == 0.5  # (0.5, 0, 0.5, 1) has no area as corners


def test_extended_sets_are_judged_by_confidence(tmp_path: Path) -> None:
    pairs = write(tmp_path, "pairs.csv", f"video,audio,label\n{PART},{OTHER},non-sounding\n")
    listed = [{"file": PART, "class": "elk", "bbox": [[0.0, 0.0, 0.5, 1.0]]}]
    wanted = open_benchmark("extended-vggss", write(tmp_path, "vggss.json", listed), pairs)
    negative = f"{PART},{OTHER}"
    surer = rows(score_maps(wanted, {PART: left(2.0), negative: left(1.0)}, controls=True))
    assert (surer["model"]["ap"], surer["model"]["max_f1"], surer["model"]["loc_acc"]) == (1.0, 1.0, 1.0)
    assert surer["ceiling: the truth"]["ap"] == 1.0
    given = {PART: 0.1, negative: 0.2}
    fooled = rows(score_maps(wanted, {PART: left(2.0), negative: left(1.0)}, given))["model"]
    assert (fooled["ap"], fooled["max_f1"]) == (0.5, pytest.approx(2 / 3))
    absent = rows(score_maps(wanted, {PART: left(2.0)}))["model, missing ones as failures"]
    assert absent["ap"] == 0.5  # a pair without a map counts as one that the model was sure of


def test_maps_of_others_are_refused_with_both_kinds_of_ids(tmp_path: Path) -> None:
    wanted = open_benchmark("vggss", vggss(tmp_path))
    with pytest.raises(BenchmarkError, match=re.escape(f"such as '{PART}', found 'else'")):
        score_maps(wanted, {"else": np.ones((2, 2))})


def test_the_command_prints_a_table_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made: dict[str, Any] = {PART: np.eye(7, dtype=np.float16), OTHER: np.zeros((3, 5), dtype=np.uint8)}
    np.savez_compressed(tmp_path / "maps.npz", **made)
    words = ["--benchmark", "vggss", "--list", vggss(tmp_path), "--controls", "--json"]
    with pytest.raises(SystemExit) as ended:
        main(["score", str(tmp_path / "maps.npz"), *words])
    assert ended.value.code == 0
    printed = capsys.readouterr()
    result = json.loads(printed.out.splitlines()[-1])
    assert result["coverage"]["found"] == 2
    assert result["coverage"]["empty_truths"] == 1
    assert [row["name"] for row in result["tables"][0]["rows"]][:2] == ["model", "LVS’ evaluator (> median)"]
    assert len(result["sweeps"]["success"]["ciou"]) == 21
    assert "centre disc" in printed.err


def test_without_maps_the_command_prints_what_needs_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["score", "--benchmark", "vggss", "--list", vggss(tmp_path)]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--controls", "--json"])
    assert ended.value.code == 0
    (table,) = json.loads(capsys.readouterr().out.splitlines()[-1])["tables"]
    named = {row["name"]: row["kind"] for row in table["rows"]}
    assert [name for name, kind in named.items() if kind in ("control", "ceiling")] == [
        "centre disc",
        "mean box of the list itself",
        "ceiling: the truth",
    ]
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "MAPS: expected an .npz of maps, or --controls alone" in capsys.readouterr().err


def test_others_figures_stand_beside_the_samples_that_they_are_of(tmp_path: Path) -> None:
    boxes = [{"file": f"{PART[:-6]}{number:06}", "class": "elk", "bbox": [[0, 0, 0.5, 1]]} for number in range(5_158)]
    for listed, only, shown in ((5_158, None, 7), (5_000, None, 7), (5_158, 250, 0), (2_400, None, 0), (2, None, 0)):
        some = None
        if only is not None:
            some = write(tmp_path, "vggss_heard_test.csv", "".join(f"{one['file']}\n" for one in boxes[:only]))
        wanted = open_benchmark("vggss", write(tmp_path, "vggss.json", boxes[:listed]), only=some)
        published = {row.name: row for row in score_maps(wanted, {boxes[0]["file"]: left(1.0)}).table.rows}
        found = [row for row in published.values() if row.kind == "other"]
        assert len(found) == shown
        if found:
            assert published["EZ-VSL (ECCV 2022), as published"].values == {
                "ciou": pytest.approx(0.3885),
                "auc": pytest.approx(0.3954),
            }


def test_the_command_knows_all_benchmarks() -> None:
    assert {name.value for name in BenchmarkName} == set(BENCHMARKS)


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        ({PART: np.ones(3)}, f"{PART}: expected a map [h, w] of numbers, found float64 [3]"),
        ({PART: np.ones((1, 2, 2))}, f"{PART}: expected a map [h, w] of numbers, found float64 [1, 2, 2]"),
        ({PART: np.ones((0, 2))}, f"{PART}: expected a map [h, w] of numbers, found float64 [0, 2]"),
        ({PART: np.ones((2, 2)) * 1j}, f"{PART}: expected a map [h, w] of numbers, found complex128 [2, 2]"),
        ({PART: np.array([["a"]])}, f"{PART}: expected a map [h, w] of numbers, found <U1 [1, 1]"),
        ({PART: np.array([[None]])}, f"maps.npz: {PART}: expected an array"),
        (
            {PART: np.ones((2, 2)), f"confidence:{OTHER}": 1.0},
            f"maps.npz: expected confidence:{PART} beside the others",
        ),
        (
            {PART: np.ones((2, 2)), f"confidence:{PART}": np.nan},
            f"maps.npz: confidence:{PART}: expected one finite number",
        ),
    ],
)
def test_damaged_maps_end_with_a_sentence_that_names_file_and_entry(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], made: dict[str, Any], sentence: str
) -> None:
    np.savez(tmp_path / "maps.npz", allow_pickle=True, **made)
    with pytest.raises(SystemExit) as ended:
        main(["score", str(tmp_path / "maps.npz"), "--benchmark", "vggss", "--list", vggss(tmp_path)])
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err


def test_files_that_hold_no_maps_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "maps.npz", **{PART: np.random.default_rng(0).random((40, 40))})
    content = bytearray((tmp_path / "maps.npz").read_bytes())
    (tmp_path / "cut.npz").write_bytes(content[: len(content) // 2])
    content[len(content) // 2] ^= 255
    (tmp_path / "flipped.npz").write_bytes(content)
    np.save(tmp_path / "one.npy", np.ones((2, 2)))
    np.savez(tmp_path / "empty.npz")
    torch.save({PART: torch.ones(2, 2)}, tmp_path / "weights.pt")
    with zipfile.ZipFile(tmp_path / "foreign.npz", "w") as archive:
        archive.writestr(PART, "no array")
    with zipfile.ZipFile(tmp_path / "twice.npz", "w") as archive:
        archive.writestr(f"{PART}.npy", content)
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr(f"{PART}.npy", content)
    found = {
        "cut.npz": "something else",
        "one.npy": "a single array",
        "empty.npz": "nothing in it",
        "weights.pt": "'weights/data.pkl', which is no array",
        "foreign.npz": f"'{PART}', which is no array",
        "twice.npz": f"'{PART}.npy' twice",
    }
    for name, what in found.items():
        sentence = f"{name}: expected an .npz with a map an id, found {what}"
        with pytest.raises(BenchmarkError, match=re.escape(sentence)):
            MapFile(str(tmp_path / name))
    with pytest.raises(BenchmarkError, match=f"flipped.npz: {PART}: expected an array"):
        MapFile(str(tmp_path / "flipped.npz"))[PART]


def test_whole_numbers_and_flags_are_maps_too(tmp_path: Path) -> None:
    wanted = open_benchmark("vggss", vggss(tmp_path))
    heat = np.arange(16).reshape(4, 4) % 5
    kinds = (np.int64, np.uint8, np.float16, np.float64)
    expected = rows(score_maps(wanted, {PART: heat.astype(np.float32)}))["model"]
    assert all(rows(score_maps(wanted, {PART: heat.astype(kind)}))["model"] == expected for kind in kinds)
    flags = rows(score_maps(wanted, {PART: heat > 2}))["model"]
    assert flags == rows(score_maps(wanted, {PART: (heat > 2).astype(np.float32)}))["model"]
