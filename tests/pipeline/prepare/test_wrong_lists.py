"""A list that is wrong is one sentence with file and line; a wrong row is left out where that is asked for."""

from pathlib import Path

import pytest
from written_lists import put, rows_of

from pipeline.errors import ManifestError
from pipeline.prepare.manifests.read import ListOptions, VideoList

UNKNOWN = "m.jsonl:1: expected only known keys (source, video, labels, "
WRONG = [
    ("m.jsonl", '{"source": "a.mp4"}\n{"source": 3}\n', "m.jsonl:2: source: expected a string, found 3"),
    ("m.jsonl", '{"source": ""}\n', "m.jsonl:1: source: expected a value, found ''"),
    ("m.jsonl", '{"video": "a"}\n', "m.jsonl:1: source: expected a value, found none"),
    ("m.jsonl", "\n[1]\n", "m.jsonl:2: expected a JSON object, found '[1]'"),
    ("m.jsonl", "{source\n", "m.jsonl:1: expected a JSON object, found '{source' (key must be a string)"),
    ("m.jsonl", '{"source": "a", "label": 1}\n', UNKNOWN),
    ("m.jsonl", '{"source": "a", "label": 1}\n', "found 'label'; did you mean 'labels'?"),
    ("m.jsonl", '{"source": "a", "place": "x"}\n', "m.jsonl:1: expected only known keys"),
    ("m.jsonl", '{"source": "a", "labels": "x"}\n', "m.jsonl:1: labels: expected a list, found 'x'"),
    ("m.jsonl", '{"source": "a", "labels": ["x", [1]]}\n', "m.jsonl:1: labels.1: expected a string, found [1]"),
    ("m.jsonl", '{"source": "a", "start_s": NaN}\n', "m.jsonl:1: start_s: expected seconds, found nan"),
    ("m.jsonl", '{"source": "a", "start_s": true}\n', "m.jsonl:1: start_s: expected seconds, found True"),
    ("m.jsonl", '{"source": "a", "start_s": -1}\n', "m.jsonl:1: start_s: expected 0 s or later, found -1"),
    (
        "m.jsonl",
        '{"source": "a", "start_s": 9, "end_s": 8}\n',
        "m.jsonl:1: end_s: expected a time after start_s (9 s), found 8",
    ),
    ("m.jsonl", '{"source": "a", "end_s": 0}\n', "m.jsonl:1: end_s: expected a time after start_s (0 s), found 0"),
    (
        "m.jsonl",
        '{"source": "a", "start_s": 1, "frame_s": 0.5}\n',
        "m.jsonl:1: frame_s: expected a moment between start_s",
    ),
    ("m.jsonl", '{"source": "a", "boxes": [[1, 2]]}\n', "m.jsonl:1: boxes.0: expected four numbers, found [1, 2]"),
    ("m.jsonl", '{"source": "a", "boxes": [[0, 0, 1, "1"]]}\n', "m.jsonl:1: boxes.0: expected four numbers"),
    ("m.jsonl", '{"source": "a", "boxes": [[0.5, 0, 0.4, 1]]}\n', "m.jsonl:1: boxes.0: expected corners"),
    ("m.jsonl", '{"source": "a", "boxes": [[0, 0, 100, 100]]}\n', "m.jsonl:1: boxes.0: expected corners"),
    (
        "m.jsonl",
        '{"source": "a", "segment_labels": ["x"]}\n',
        "m.jsonl:1: segment_labels.0: expected a list, found 'x'",
    ),
    ("m.jsonl", b'{"source": "a.mp4"}\n{"source": "\xff.mp4"}\n', "m.jsonl:2: expected a JSON object"),
    ("m.jsonl", '{"source": "\\ud800.mp4"}\n', "m.jsonl:1: expected a JSON object"),
    ("m.jsonl", "", "m.jsonl: expected videos, found none"),
    ("m.txt", "# nothing\n", "m.txt: expected videos, found none"),
    ("m.csv", "source\n", "m.csv: expected videos, found none"),
    ("m.csv", "source,lables\na,b\n", "m.csv:1: expected columns out of source, video, labels, split, start_s, "),
    ("m.csv", "source,lables\na,b\n", "found 'lables'; did you mean 'labels'?"),
    ("m.csv", "video,labels\na,b\n", "m.csv:1: expected a column named source"),
    ("m.csv", "source,source\na,b\n", "m.csv:1: expected each column once, found source, source"),
    ("m.csv", "source,labels\na,b\nc\n", "m.csv:3: expected 2 cells as in the header, found 1"),
    ("m.csv", 'source,labels\n"a\nb",x\nc\n', "m.csv:4: expected 2 cells as in the header, found 1"),
    ("m.csv", "source,boxes\na,oops\n", "m.csv:2: boxes: expected JSON such as [[0, 0, 1, 1]], found 'oops'"),
    ("m.csv", "source,start_s\na,1_0\n", "m.csv:2: start_s: expected a number, found '1_0'"),
    ("m.csv", "source,end_s\na,inf\n", "m.csv:2: end_s: expected a number, found 'inf'"),
    ("m.csv", 'source,labels\na,"b\nc,d\n', "m.csv:2: expected CSV, found something else (unexpected end of data)"),
    ("m.csv", 'source,labels\na,"b"c\n', "m.csv:2: expected CSV, found something else ("),
    ("m.csv", b"source,labels\na,b\nc,\xe4\n", "m.csv:3: expected UTF-8 text, found byte 0xe4"),
    ("m.txt", b"a.mp4\n\xff\xfe\x00", "m.txt:2: expected UTF-8 text, found byte 0xff"),
    ("m.parquet", "PAR1 no", "m.parquet: expected a Parquet file, found something else"),
    ("m.yaml", "a: 1", "m.yaml: expected a list in a known format (audioset, ave, "),
    ("m.yaml", "a: 1", "--format chooses one), found first line 'a: 1'"),
    ("m.json", '{"a": 1}', "m.json: expected a list in a known format"),
]


@pytest.mark.parametrize(("name", "content", "sentence"), WRONG)
def test_a_wrong_list_is_one_sentence(tmp_path: Path, name: str, content: str | bytes, sentence: str) -> None:
    with pytest.raises(ManifestError) as caught:
        rows_of(put(tmp_path / name, content))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_wrong_rows_are_left_out_and_reported_where_asked(tmp_path: Path) -> None:
    lines = ["source,start_s", "a.mp4,", 'b.mp4,"1', "c.mp4,x", "d.mp4,1,2", "e.mp4,3"]
    notes: list[tuple[str, str]] = []
    videos = VideoList(
        [str(put(tmp_path / "m.csv", "\n".join(lines)))],
        ListOptions(skip_wrong=True),
        lambda kind, sentence: notes.append((kind, sentence)),
    )
    assert [row.video for row in videos] == ["a", "e"]  # those behind the open quote as well
    assert [sentence.partition("m.csv:")[2].partition(":")[0] for sentence in videos.wrong.examples] == ["3", "4", "5"]
    assert notes == [("wrong", sentence) for sentence in videos.wrong.examples]
    only = put(tmp_path / "n.jsonl", "{}\n" * 30)
    with pytest.raises(ManifestError, match=r"expected videos, found 30 wrong rows only, such as .*n.jsonl:1: source"):
        rows_of(only, skip_wrong=True)


def test_missing_sources_and_folders_without_videos(tmp_path: Path, s3_bucket: str) -> None:
    put(tmp_path / "some/a.jpg")
    with pytest.raises(ManifestError, match=r"expected a folder with videos .* found 1 other files"):
        rows_of(tmp_path / "some")
    for name in ("gone", "gone.mp4", "gone.csv", "gone/gone.jsonl"):
        with pytest.raises(ManifestError, match="no such file or folder"):
            rows_of(tmp_path / name)
    with pytest.raises(Exception, match=r"no such file"):
        rows_of(f"{s3_bucket}/gone.csv")
    with pytest.raises(ManifestError, match=r"expected a folder with videos .* found an empty one"):
        rows_of(f"{s3_bucket}/gone")
    with pytest.raises(ManifestError, match="no sources: expected videos, found none"):
        rows_of()
    for words in (("https://host/list.csv",), ("https://host/page", "vggsound")):
        with pytest.raises(
            ManifestError, match=r"expected a list on this machine or on object storage, found one on the web"
        ):
            VideoList(words[:1], ListOptions(format=words[1] if words[1:] else None))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"format": "vggsond"}, "--format: expected one of audioset, .*, found 'vggsond'; did you mean 'vggsound'?"),
        ({"format": "vggsound"}, "expected a list in format vggsound, found a folder"),
        ({"source": "/d/{vidoe}.mp4"}, r"expected fields out of .*, found {vidoe}; did you mean {video}\?"),
        ({"source": "/d/x.mp4"}, r"expected {video} or {youtube} in it, found no fields"),
        ({"source": "/d/{video.mp4"}, r"expected fields such as {video}, found "),
        ({"source": "/d/{video}{start:06q}.mp4"}, r"expected a way to write a value such as 06d, found "),
        ({"source": "/d/{video}.mp4"}, r"--source: expected lists of ids, found .*, which is read as folder"),
    ],
)
def test_a_wrong_option_is_one_sentence(tmp_path: Path, options: dict[str, str], sentence: str) -> None:
    put(tmp_path / "a.mp4")
    with pytest.raises(ManifestError, match=sentence):
        rows_of(tmp_path, **options)
