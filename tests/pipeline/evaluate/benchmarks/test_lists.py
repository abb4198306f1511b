"""The benchmarks' lists: what truth comes of each, and the sentence that a damaged one ends with."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import BenchmarkError, ManifestError
from pipeline.evaluate.benchmarks.benchmarks import open_benchmark
from pipeline.evaluate.benchmarks.lists import read_as_corners

PART, OTHER = "zpWuikVorYg_000032", "gEvCUcZ6w88_000030"


def write(folder: Path, name: str, content: object) -> str:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def annotation(*boxes: tuple[int, int, int, int]) -> str:
    drawn = "".join("<bbox><id>1</id>" + "".join(f"<c>{corner}</c>" for corner in box) + "</bbox>" for box in boxes)
    return f"<annotation><object>{drawn}</object></annotation>"


def vggss(folder: Path) -> str:
    listed = [
        {"file": PART, "class": "elk bugling", "bbox": [[0.25, 0.5, 0.5, 1.0], [0.0, 0.0, 0.1, 0.1]]},
        {"file": OTHER, "class": "tambourine", "bbox": [[0.2, 1.0, 0.7, 1.0]]},
    ]
    return write(folder, "vggss.json", listed)


def test_vggss_draws_the_union_and_keeps_empty_truths(tmp_path: Path) -> None:
    first, empty = open_benchmark("vggss", vggss(tmp_path)).samples
    truth = np.zeros((224, 224), dtype=bool)
    truth[112:224, 56:112] = truth[0:22, 0:22] = True
    assert first.id == PART
    assert np.array_equal(first.truth(), truth)
    assert empty.sounding
    assert not empty.truth().any()


def test_only_keeps_the_ids_of_a_list_and_counts_those_without_truth(tmp_path: Path) -> None:
    heard = write(tmp_path, "vggss_heard_test.csv", f"{OTHER}\nnowhere_000001\n")
    wanted = open_benchmark("vggss", vggss(tmp_path), only=heard)
    assert [sample.id for sample in wanted.samples] == [OTHER]
    assert wanted.without_truth == ["nowhere_000001"]


def test_two_of_three_annotators_of_flickr_soundnet_make_a_full_pixel(tmp_path: Path) -> None:
    write(tmp_path, "10000130166.xml", annotation((0, 0, 128, 256), (64, 0, 256, 256), (64, 0, 100, 100)))
    (sample,) = open_benchmark("flickr", str(tmp_path)).samples
    truth = sample.truth()
    assert sample.id == "10000130166"
    assert (truth[0, 0], truth[0, 56], truth[200, 60], truth[200, 111], truth[200, 112]) == (0.5, 1.0, 1.0, 1.0, 0.5)


def test_is3_groups_the_sounds_of_an_image(tmp_path: Path) -> None:
    entries = [
        {"image": f"/there/accordion_baby_10467_{label}.jpg", "audio": "/there/a.wav", "gt_box": box}
        for label, box in (("accordion", [47.0, 99.0, 154.0, 185.0]), ("baby", [0.0, 0.0, 224.0, 90.0]))
    ]
    one, two = open_benchmark("is3", write(tmp_path, "synthetic3240_bbox.json", entries)).samples
    assert (one.id, one.group, one.labels) == ("accordion_baby_10467_accordion", "accordion_baby_10467", ("accordion",))
    assert (one.truth().sum(), two.truth().sum()) == ((154 - 47) * (185 - 99), 224 * 90)


def test_music_has_a_sample_a_source_with_x_y_width_and_height(tmp_path: Path) -> None:
    entry = {"file": "v", "class_src1": "cello", "bbox_src1": [0.25, 0.5, 0.25, 0.5]}
    path = write(tmp_path, "duet.json", [{**entry, "class_src2": "flute", "bbox_src2": [0.5, 0.0, 0.5, 0.25]}])
    cello, flute = open_benchmark("music-duet", path).samples
    assert (cello.id, cello.boxes, flute.id, flute.boxes) == (
        "v:cello",
        ((56, 112, 112, 224),),
        "v:flute",
        ((112, 0, 224, 56),),
    )
    assert cello.group == flute.group == "v"
    assert read_as_corners(path) == {"v:cello": (56, 112, 56, 112), "v:flute": (112, 0, 112, 56)}


def test_extended_sets_keep_their_negatives_beside_the_benchmarks_own(tmp_path: Path) -> None:
    pairs = f"video,audio,label\n{PART},{OTHER},non-sounding\nx_000001,x_000001,non-sounding\n{PART},{PART},elk\n"
    wanted = open_benchmark("extended-vggss", vggss(tmp_path), write(tmp_path, "silent.csv", pairs))
    told = [(sample.id, sample.sounding, len(sample.boxes)) for sample in wanted.samples]
    assert told[2:] == [(f"{PART},{OTHER}", False, 0), ("x_000001,x_000001", False, 0), (f"{PART},{PART}", True, 2)]
    assert len(told) == 5


@pytest.mark.parametrize(
    ("name", "file", "content", "sentence"),
    [
        (
            "vggss",
            "a.json",
            [{"file": PART, "class": "elk", "bbox": [[0, 0, 1]]}],
            "a.json: entry 1: bbox.0: expected four",
        ),
        ("vggss", "a.json", "[{", "a.json:1: expected JSON"),
        ("vggss", "a.json", [], "a.json: expected samples of a benchmark, found none"),
        (
            "vggss",
            "a.json",
            [{"file": PART, "class": "elk", "bbox": []}] * 2,
            f"expected each id once, found '{PART}' twice",
        ),
        (
            "is3",
            "a.json",
            [{"image": "/a_b.jpg", "gt_box": [0, 0, 300, 5]}],
            "a.json: entry 1: gt_box: expected corners",
        ),
        (
            "is3",
            "a.json",
            [{"image": "/a.jpg", "gt_box": [0, 0, 3, 5]}],
            "a.json: entry 1: image: expected IMAGE_LABEL.jpg",
        ),
        (
            "music-solo",
            "a.json",
            [{"file": "v", "class": "x", "bbox": [0, 0, 2, 1]}],
            "a.json: entry 1: bbox: expected [x, y,",
        ),
        ("nothing", "a.json", [], "benchmark: expected one of vggss, flickr"),
    ],
)
def test_a_damaged_list_ends_with_a_sentence_that_names_file_and_entry(
    tmp_path: Path, name: str, file: str, content: object, sentence: str
) -> None:
    with pytest.raises((BenchmarkError, ManifestError), match=re.escape(sentence)):
        open_benchmark(name, write(tmp_path, file, content))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("<annotation><object>", "10.xml: expected XML"),
        (
            "<a><o><bbox><i/><c>1</c><c>2</c><c>x</c><c>4</c></bbox></o></a>",
            "10.xml: bbox: expected an element and four",
        ),
        ("<a><o><bbox><i/><c>1</c></bbox></o></a>", "10.xml: bbox: expected an element and four"),
        (
            "<a><o><bbox><i/><c>-9</c><c>2</c><c>3</c><c>4</c></bbox></o></a>",
            "10.xml: bbox: expected corners of 0 or more",
        ),
    ],
)
def test_a_damaged_annotation_ends_with_a_sentence_that_names_its_file(
    tmp_path: Path, content: str, sentence: str
) -> None:
    write(tmp_path, "10.xml", content)
    with pytest.raises(BenchmarkError, match=re.escape(sentence)):
        open_benchmark("flickr", str(tmp_path))


def test_pairs_are_asked_for_where_they_belong(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="extended-vggss: pairs: expected its list"):
        open_benchmark("extended-vggss", vggss(tmp_path))
    with pytest.raises(BenchmarkError, match="vggss: pairs: expected none"):
        open_benchmark("vggss", vggss(tmp_path), "pairs.csv")
    wrong = write(tmp_path, "pairs.csv", "video,audio,label\nx_000001,y_000001,elk\n")
    with pytest.raises(ManifestError, match=r"pairs.csv:2: expected a video of the benchmark's list or non-sounding"):
        open_benchmark("extended-vggss", vggss(tmp_path), wrong)
    headless = write(tmp_path, "headless.csv", f"{PART},{OTHER},non-sounding\n")
    with pytest.raises(ManifestError, match=r"headless.csv:1: expected the header video,audio,label"):
        open_benchmark("extended-vggss", vggss(tmp_path), headless)
    with pytest.raises(BenchmarkError, match=r"expected a folder with Flickr-SoundNet's annotations"):
        open_benchmark("flickr", str(tmp_path))
