"""Lists that only name samples: truths from VGG-SS' boxes and from masks, one source or two frames side by side."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_lists import OTHER, PART, vggss, write
from test_score import left, rows

from pipeline.errors import BenchmarkError, ManifestError
from pipeline.evaluate.benchmarks.benchmarks import open_benchmark
from pipeline.evaluate.benchmarks.score import score_maps

DUET = f"{PART},elk_bugling,{OTHER},tambourine\n"


def quarter() -> np.ndarray:
    """The upper left quarter of a frame of 16 × 8."""
    mask = np.zeros((8, 16), dtype=np.uint8)
    mask[:4, :8] = 7
    return mask


def masks(folder: Path, kind: str) -> str:
    """Of two samples, the second all of the frame."""
    whole = np.full((5, 5), 255, dtype=np.uint8)
    if kind == "npz":
        np.savez(folder / "masks.npz", sample0000=quarter() > 0, sample0190=whole)
        return str(folder / "masks.npz")
    (folder / "masks").mkdir()
    for name, mask in (("sample0000", quarter()), ("sample0190", whole), ("else", whole)):
        Image.fromarray(mask).save(folder / "masks" / f"{name}.png")
    return str(folder / "masks")


def test_a_duet_has_two_frames_side_by_side_and_a_truth_a_source(tmp_path: Path) -> None:
    listed = [
        {"file": PART, "class": "elk bugling", "bbox": [[0.0, 0.0, 0.5, 1.0]]},
        {"file": OTHER, "class": "tambourine", "bbox": [[0.5, 0.5, 1.0, 1.0]]},
    ]
    truths = write(tmp_path, "vggss.json", listed)
    wanted = open_benchmark("vggsound-duet", write(tmp_path, "duet.csv", DUET), truths=truths)
    elk, tambourine = wanted.samples
    assert (elk.id, tambourine.id) == (f"{PART}+{OTHER}:{PART}", f"{PART}+{OTHER}:{OTHER}")
    assert elk.group == tambourine.group
    assert elk.truth().shape == (224, 448)
    assert np.argwhere(elk.truth()).max(0).tolist() == [223, 111]
    assert np.argwhere(tambourine.truth()).min(0).tolist() == [112, 224 + 112]
    # maps of the halves of each frame that sound, coarse and over both frames
    coarse = np.eye(4)[[0, 0, 0, 0]], np.eye(4)[[3, 3, 3, 3]]
    found = rows(score_maps(wanted, {elk.id: coarse[0], tambourine.id: coarse[1]}, controls=True))
    assert found["model"]["pointing"] == 1.0
    assert found["model"]["ap"] is not None
    assert found["model"]["piap"] == pytest.approx(found["model"]["ap"])
    assert found["ceiling: the truth"]["ap"] == 1.0
    swapped = rows(score_maps(wanted, {elk.id: coarse[1], tambourine.id: coarse[0]}))["model"]
    assert swapped["pointing"] == 0.0
    assert swapped["piap"] == pytest.approx(found["model"]["piap"])


def test_a_single_has_the_union_of_its_boxes(tmp_path: Path) -> None:
    names = write(tmp_path, "single.csv", f"{PART},elk_bugling\nnowhere_000001,dog\n")
    wanted = open_benchmark("vggsound-single", names, truths=vggss(tmp_path))
    assert [sample.id for sample in wanted.samples] == [PART]
    assert wanted.without_truth == ["nowhere_000001"]
    score = score_maps(wanted, {PART: left(1.0)})
    assert score.coverage.sentence() == ("1 of 2 maps found, 1 missing: asked for, but not in the benchmark’s list")


@pytest.mark.parametrize("kind", ["npz", "png"])
def test_masks_are_what_is_not_nought_brought_to_224_by_nearest_neighbours(tmp_path: Path, kind: str) -> None:
    truths = masks(tmp_path, kind)
    single = write(tmp_path, "one.csv", "sample0000,accordion\n")
    (sample,) = open_benchmark("vggsound-instruments", single, truths=truths).samples
    expected = np.zeros((224, 224), dtype=bool)
    expected[:112, :112] = True
    assert np.array_equal(sample.truth(), expected)
    both = write(tmp_path, "two.csv", "sample0000,accordion,sample0190,steel_guitar\n")
    first, second = open_benchmark("vggsound-instruments", both, truths=truths).samples
    assert np.array_equal(first.truth(), np.hstack([expected, np.zeros((224, 224), dtype=bool)]))
    assert np.array_equal(
        second.truth(), np.hstack([np.zeros((224, 224), dtype=bool), np.ones((224, 224), dtype=bool)])
    )
    assert score_maps(open_benchmark("vggsound-instruments", single, truths=truths), {"sample0000": left(1.0)})


def test_truths_are_asked_for_where_they_belong_and_named_where_they_are_damaged(tmp_path: Path) -> None:
    names = write(tmp_path, "one.csv", "sample0000,accordion\n")
    with pytest.raises(BenchmarkError, match="vggsound-instruments: truths: expected vggss.json"):
        open_benchmark("vggsound-instruments", names)
    with pytest.raises(BenchmarkError, match="vggss: truths: expected none"):
        open_benchmark("vggss", vggss(tmp_path), truths=str(tmp_path))
    with pytest.raises(
        BenchmarkError, match=re.escape(f"{tmp_path}: expected a folder of masks such as 'sample0000.png'")
    ):
        open_benchmark("vggsound-instruments", names, truths=str(tmp_path))
    with pytest.raises(ManifestError, match=re.escape("vggss.json: expected truths of names such as 'sample0000'")):
        open_benchmark("vggsound-single", names, truths=vggss(tmp_path))
    (tmp_path / "sample0000.png").write_bytes(b"\x80\x04\x95pickled")
    with pytest.raises(BenchmarkError, match=r"sample0000.png: expected a mask as PNG, found something else"):
        open_benchmark("vggsound-instruments", names, truths=str(tmp_path))
    wrong = write(tmp_path, "wrong.csv", "sample0000,accordion,sample0001\n")
    with pytest.raises(ManifestError, match=r"wrong.csv:1: expected FILE,LABEL or FILE,LABEL,FILE,LABEL"):
        open_benchmark("vggsound-instruments", wrong, truths=str(tmp_path))
    mixed = write(tmp_path, "mixed.csv", f"{DUET}{PART},elk_bugling\n")
    with pytest.raises(ManifestError, match=r"mixed.csv:2: expected as many files as in the first row"):
        open_benchmark("vggsound-duet", mixed, truths=vggss(tmp_path))
    np.savez(tmp_path / "nan.npz", sample0000=np.full((4, 4), np.nan))
    with pytest.raises(BenchmarkError, match=r"nan.npz: sample0000: expected a mask, found NaN"):
        open_benchmark("vggsound-instruments", names, truths=str(tmp_path / "nan.npz"))
