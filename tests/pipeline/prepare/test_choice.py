"""Lists of splits and labels choose rows of other lists."""

import json
from collections import Counter
from pathlib import Path

import pytest
from written_lists import put, rows_of

from jobs import cli
from pipeline.errors import ManifestError
from pipeline.prepare.manifests.read import ListOptions, SplitShares, VideoList

IDS = [f"{letter}aaaaaaaaa1" for letter in "abcdef"]


@pytest.fixture
def music(tmp_path: Path) -> Path:
    videos = {"flute": IDS[:2], "violin": IDS[2:4], "flute violin": IDS[4:]}
    return put(tmp_path / "music.json", json.dumps({"videos": videos}))


@pytest.fixture
def split_lists(tmp_path: Path) -> tuple[str, str]:
    return (
        str(put(tmp_path / "m_train.csv", "\n".join(IDS[:3]))),
        str(put(tmp_path / "m_val.csv", "\n".join([IDS[4], "notinmusic1"]))),
    )


def test_videos_get_the_splits_of_the_lists_that_name_them_and_others_are_left_out(
    music: Path, split_lists: tuple[str, str]
) -> None:
    rows = rows_of(music, split_lists=split_lists)
    assert [(row.video, row.split) for row in rows] == [
        *((video, "train") for video in IDS[:3]),
        (IDS[4], "val"),
    ]
    assert rows_of(music, split_lists=split_lists, split="val") == rows[3:]
    held_out = rows_of(music, split_lists=split_lists, split_share=SplitShares.parse(["test=1"]))
    assert [row.split for row in held_out] == ["test", "test", "test", "val"]


def test_splits_that_stand_in_the_rows_of_a_list_count_too(music: Path, tmp_path: Path) -> None:
    own = put(tmp_path / "own.csv", f"source,video,split\n/a.mp4,{IDS[0]},test\n/b.mp4,{IDS[1]},train\n")
    assert Counter(row.split for row in rows_of(music, split_lists=(str(own),))) == {"test": 1, "train": 1}


def test_labels_choose_rows_that_have_no_others(music: Path) -> None:
    assert [row.video for row in rows_of(music, labels=("flute",))] == IDS[:2]
    assert [row.video for row in rows_of(music, labels=("violin", "flute"))] == IDS
    with pytest.raises(ManifestError, match=r"^--label: expected labels .*, found 'flut'; did you mean 'flute'\?"):
        rows_of(music, labels=("flut", "violin"))


def test_a_changed_list_of_a_split_is_another_choice(music: Path, split_lists: tuple[str, str]) -> None:
    videos = VideoList([str(music)], ListOptions(split_lists=split_lists))
    before = videos.fingerprint()
    assert before == videos.fingerprint()
    put(Path(split_lists[0]), "\n".join(IDS[:2]))
    assert videos.fingerprint() != before


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"m.csv": IDS[0]}, rf"m\.csv:1: --split-list expects a split .* found none for {IDS[0]}"),
        (
            {"a_train.csv": IDS[0], "b_val.csv": IDS[0]},
            rf"b_val\.csv:1: .* found {IDS[0]} in val, which is in train al",
        ),
        ({"train.mp4": ""}, r"--split-list: expected a list of videos, found .*train\.mp4, which is a video"),
        ({"x_train.csv": "zzzzzzzzzz1"}, r"expected videos, found videos that no --split-list names \(6\)"),
    ],
)
def test_wrong_lists_of_splits_are_told(
    files: dict[str, str], sentence: str, music: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word for name, text in files.items() for word in ("--split-list", str(put(tmp_path / name, text)))]
    with pytest.raises(ManifestError, match=sentence):
        rows_of(music, split_lists=tuple(words[1::2]))
    with pytest.raises(SystemExit) as ended:
        cli.main(["prepare", str(music), *words, "--out", str(tmp_path / "shards"), "--local"])
    assert ended.value.code == 2
    assert "--split-list" in capsys.readouterr().err


def test_the_verbs_take_them(music: Path, split_lists: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--split-list", split_lists[0], "--split-list", split_lists[1], "--label", "flute"]
    with pytest.raises(SystemExit):
        cli.main(["manifest", "info", str(music), *words, "--json"])
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["splits"] == {"train": 2}
    with pytest.raises(SystemExit):
        cli.main(["manifest", "check", str(music), "--label", "oboe"])
    assert "found 'oboe'; known are flute, violin" in capsys.readouterr().err
