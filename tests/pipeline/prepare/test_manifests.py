"""Any list of videos becomes rows, and a wrong one a sentence that names file and line."""

import json
from pathlib import Path

import pytest

from pipeline.errors import ManifestError
from pipeline.prepare.manifests.read import read_manifests


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def test_a_folder_is_walked_for_videos(tmp_path: Path) -> None:
    for name in ("b.mp4", "deep/er/a.WebM", "notes.txt", "c.jpg"):
        touch(tmp_path / name)
    rows = read_manifests([str(tmp_path)]).rows
    assert [(row.video, row.source) for row in rows] == [
        ("b", f"{tmp_path}/b.mp4"),
        ("a", f"{tmp_path}/deep/er/a.WebM"),
    ]


def test_paths_in_a_list_are_relative_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/some.txt").write_text(
        "# a comment\n\n  ../videos/a b.mp4  \n/abs/b.mp4\ns3://bucket/c.mp4\nx#1.mp4\n"
    )
    monkeypatch.chdir(tmp_path)
    rows = read_manifests(["lists/some.txt"]).rows
    assert [row.source for row in rows] == [
        f"{tmp_path}/videos/a b.mp4",
        "/abs/b.mp4",
        "s3://bucket/c.mp4",
        f"{tmp_path}/lists/x#1.mp4",
    ]
    assert [row.video for row in rows] == ["a-b", "b", "c", "x-1"]


def test_what_a_jsonl_row_knows_is_kept(tmp_path: Path) -> None:
    row = {
        "video": "test_1a",
        "source": "videos/1.mp4",
        "labels": ["violin"],
        "split": "test",
        "boxes": [[0.1, 0.2, 0.3, 0.4]],
        "visible": ["violin", "drum"],
        "group": "test_1",
        "extra": {"any": 1},
    }
    (tmp_path / "m.jsonl").write_text(json.dumps(row) + "\n" + json.dumps({"source": "2.mp4"}) + "\n")
    first, second = read_manifests([str(tmp_path / "m.jsonl")]).rows
    assert first.model_dump(mode="json") == {
        **{key: value for key, value in row.items() if key != "extra"},
        "source": f"{tmp_path}/videos/1.mp4",
    }
    assert (second.video, second.labels, second.boxes) == ("2", [], None)


def test_a_csv_with_a_header(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(
        'source,labels,boxes,split\na.mp4,violin; cello,"[[0,0,1,1]]",train\n"b,c.mp4",,,\n'
    )
    first, second = read_manifests([str(tmp_path / "m.csv")]).rows
    assert (first.labels, first.boxes, first.split) == (["violin", "cello"], [(0, 0, 1, 1)], "train")
    assert (second.source, second.labels, second.split) == (f"{tmp_path}/b,c.mp4", [], None)


def test_files_of_the_same_name_get_different_ids_whatever_their_order(tmp_path: Path) -> None:
    touch(tmp_path / "one/001.mp4"), touch(tmp_path / "two/001.mp4")
    ids = {row.source: row.video for row in read_manifests([f"{tmp_path}/one", f"{tmp_path}/two"]).rows}
    assert ids == {row.source: row.video for row in read_manifests([f"{tmp_path}/two", f"{tmp_path}/one"]).rows}
    assert len(set(ids.values())) == 2
    assert all(name.startswith("001-") for name in ids.values())


def test_what_comes_twice_is_kept_once_and_reported(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text(
        '{"source": "a.mp4", "video": "a"}\n{"source": "./a.mp4"}\n{"source": "b.mp4", "video": "a"}\n'
    )
    manifest = read_manifests([str(tmp_path / "m.jsonl")])
    assert [row.video for row in manifest.rows] == ["a"]
    assert manifest.repeated == [
        f"{tmp_path}/m.jsonl:2: {tmp_path}/a.mp4 is there already ({tmp_path}/m.jsonl:1)",
        f"{tmp_path}/m.jsonl:3: a video named 'a' is there already ({tmp_path}/m.jsonl:1)",
    ]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("m.jsonl", '{"source": "a.mp4"}\n{"source": 3}\n', "m.jsonl:2: source: expected a valid string, found 3"),
        ("m.jsonl", '{"video": "a"}\n', "m.jsonl:1: source: expected a value, found none"),
        ("m.jsonl", "\n[1]\n", "m.jsonl:2: expected a JSON object, found '[1]'"),
        ("m.jsonl", "{source\n", "m.jsonl:1: expected a JSON object, found '{source'"),
        ("m.jsonl", '{"source": "a", "label": 1}\n', "m.jsonl:1: expected only known keys (source, video, labels, "),
        ("m.jsonl", '{"source": "a", "place": "x"}\n', "m.jsonl:1: expected only known keys"),
        ("m.jsonl", '{"source": "a", "boxes": [[1, 2]]}\n', "m.jsonl:1: boxes.0"),
        ("m.jsonl", "", "m.jsonl: expected videos, found none"),
        ("m.txt", "# nothing\n", "m.txt: expected videos, found none"),
        (
            "m.csv",
            "source,lables\na,b\n",
            "m.csv:1: expected columns out of source, video, split, group, labels, ",
        ),
        ("m.csv", "source,lables\na,b\n", "found 'lables'; did you mean 'labels'?"),
        ("m.csv", "video,labels\na,b\n", "m.csv:1: expected a column named source, found video, labels"),
        ("m.csv", "source,labels\na,b\nc\n", "m.csv:3: expected 2 cells as in the header, found 1"),
        ("m.csv", "source,boxes\na,oops\n", "m.csv:2: boxes: expected JSON such as [[0, 0, 1, 1]], found 'oops'"),
        ("m.txt", b"\xff\xfe\x00", "m.txt: expected UTF-8 text"),
        (
            "m.yaml",
            "a: 1",
            "expected a folder, a video or a list (.jsonl, .csv, .txt), found a file named *.yaml",
        ),
    ],
)
def test_a_wrong_list_is_one_sentence(tmp_path: Path, name: str, content: str | bytes, sentence: str) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(Exception, match=r".") as caught:
        read_manifests([str(tmp_path / name)])
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_without_videos_and_a_missing_source(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg")
    with pytest.raises(ManifestError, match=r"expected a folder with videos .* found 1 other files"):
        read_manifests([str(tmp_path)])
    for name in ("gone", "gone.mp4"):
        with pytest.raises(ManifestError, match="no such file or folder"):
            read_manifests([str(tmp_path / name)])
