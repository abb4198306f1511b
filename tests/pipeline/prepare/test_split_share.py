"""A share of the videos is held out: whole videos, always the same ones."""

import json
import random
from collections import Counter
from pathlib import Path

import pytest

from jobs.cli import main
from listed_rows import ListedRows
from pipeline.errors import ManifestError, ShardSetError
from pipeline.prepare.manifests.options import ListOptions
from pipeline.prepare.manifests.read import SplitShares, VideoList
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.plan import read_plan, settle_plan
from pipeline.prepare.settings import PrepareSettings

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def ids(count: int, seed: int = 0) -> list[str]:
    draw = random.Random(seed)
    return [f"a{''.join(draw.choices(LETTERS, k=9))}1" for _ in range(count)]


def splits_of(path: Path, *shares: str, seed: int = 0, **options: object) -> dict[str, str | None]:
    rows = VideoList([str(path)], ListOptions(split_share=SplitShares.parse(shares, seed), **options))
    return {row.video: row.split for row in rows}


def audioset(path: Path, videos: list[str]) -> Path:
    """Three parts of each video."""
    lines = [f'{video}, {start}.000, {start + 10}.000, "/m/09x0r"' for start in (0, 30, 60) for video in videos]
    path.write_text("\n".join(lines))
    return path


def test_shares_are_met_and_all_parts_of_a_video_go_to_one_split(tmp_path: Path) -> None:
    videos = ids(3000)
    found = splits_of(audioset(tmp_path / "segments.csv", videos), "validation=0.1", "test=0.05")
    counts = Counter(found.values())
    assert counts["validation"] / len(found) == pytest.approx(0.1, abs=0.015)
    assert counts["test"] / len(found) == pytest.approx(0.05, abs=0.012)
    assert counts["train"] == len(found) - counts["validation"] - counts["test"]
    for video in videos:
        assert len({found[f"{video}_{start:06d}"] for start in (0, 30, 60)}) == 1


def test_a_video_keeps_its_split_whatever_else_the_list_holds_and_wherever_it_lies(tmp_path: Path) -> None:
    videos = ids(300)
    first = splits_of(audioset(tmp_path / "segments.csv", videos), "validation=0.2")
    changed = audioset(tmp_path / "other.csv", [*ids(200, seed=1), *reversed(videos)])
    assert {video: split for video, split in splits_of(changed, "validation=0.2").items() if video in first} == first
    for source in ("/data/{video}.mp4", "/else/{youtube}.mp4", "/k/{label}/{youtube}/{start}.mp4"):
        assert splits_of(tmp_path / "segments.csv", "validation=0.2", source=source) == first
    more = splits_of(tmp_path / "segments.csv", "validation=0.2", "test=0.3")
    assert {video for video, split in more.items() if split == "validation"} == {
        video for video, split in first.items() if split == "validation"
    }
    assert splits_of(tmp_path / "segments.csv", "validation=0.2", seed=1) != first


def test_files_and_rows_of_one_file_or_group_stay_together(tmp_path: Path) -> None:
    videos = ids(100)
    lines = []
    for number, video in enumerate(videos):
        lines += [{"source": f"/cut/{video}_{start:06d}_{start + 10:06d}.mp4"} for start in (0, 10)]
        lines += [
            {"source": f"/long/concert {number}.mp4", "start_s": start, "video": f"c{number}-{start}"}
            for start in (0, 9)
        ]
        lines += [{"source": f"/g/{number}{letter}.mp4", "group": f"image-{number}"} for letter in "ab"]
    path = tmp_path / "own.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    rows = list(VideoList([str(path)], ListOptions(split_share=SplitShares.parse(["validation=0.5"]))))
    kinds = {"/cut/": lambda row: row.source[5:16], "/long": lambda row: row.source, "/g/": lambda row: row.group}
    for start, video_of in kinds.items():
        chosen = [(video_of(row), row.split) for row in rows if row.source.startswith(start)]
        assert len(set(chosen)) == len({video for video, _ in chosen}) == 100
        assert {split for _, split in chosen} == {"train", "validation"}


def test_only_rows_without_a_split_and_of_train_are_divided(tmp_path: Path) -> None:
    path = tmp_path / "vggsound.csv"
    own = ["train", "test", ""]
    path.write_text("\n".join(f"{video},{n},bell,{own[n % 3]}" for n, video in enumerate(ids(300))))
    before = splits_of(path)
    after = splits_of(path, "validation=0.3")
    assert {video for video, split in before.items() if split == "test"} == {
        video for video, split in after.items() if split == "test"
    }
    assert set(after.values()) == {"train", "validation", "test"}
    chosen = splits_of(path, "validation=0.3", split="validation")
    assert chosen == {video: split for video, split in after.items() if split == "validation"}


@pytest.mark.parametrize(
    ("text", "share", "sentence"),
    [
        ("{},0,bell,test\n", "test=0.1", r"l\.csv:1: expected no rows of the split test, which --split-share draws"),
        (
            "{},0,bell,val\n",
            "validation=0.1",
            r"l\.csv:1: expected no rows of the split val, which --split-share draws",
        ),
        (
            "{},0,bell,test\n",
            "validation=0.1",
            "expected rows without a split or of train for --split-share, found none",
        ),
    ],
)
def test_what_contradicts_a_list_s_own_splits_is_refused(text: str, share: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    path.write_text(text.format(ids(1)[0]))
    for skip_wrong in (False, True):
        with pytest.raises(ManifestError, match=sentence):
            splits_of(path, share, skip_wrong=skip_wrong)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["validation"], "expected words such as validation=0.1, found 'validation'"),
        (["validation=x"], "expected words such as validation=0.1"),
        (["validation=nan"], "expected words such as validation=0.1"),
        (["validation=0"], "expected words such as validation=0.1"),
        (["validation=10"], "expected words such as validation=0.1"),
        (["=0.1"], "expected words such as validation=0.1"),
        (["a=0.7", "b=0.4"], "expected shares of 1 in all at most, found a=0.7, b=0.4"),
        (["val=0.1", "validation=0.1"], "expected each split once"),
        (["train=0.9"], "expected splits beside train, the rest, found 'train=0.9'"),
    ],
)
def test_wrong_shares_are_one_sentence(words: list[str], sentence: str) -> None:
    with pytest.raises(ManifestError, match=f"--split-share: {sentence}"):
        SplitShares.parse(words)


def test_the_plan_records_the_share_and_refuses_another(tmp_path: Path) -> None:
    rows = [VideoRow("a", "/a.mp4", split="train")]
    out, settings = str(tmp_path), PrepareSettings()
    settle_plan(out, ListedRows(rows, "validation=0.1 seed=0"), settings)
    plan = read_plan(out)
    assert plan is not None
    assert plan.split_share == "validation=0.1 seed=0"
    with pytest.raises(ShardSetError, match="--split-share was validation=0.1 seed=0 and is now not given"):
        settle_plan(out, ListedRows(rows), settings)


def test_info_and_convert_show_and_keep_the_splits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = audioset(tmp_path / "segments.csv", ids(60))
    expected = splits_of(listed, "validation=0.25", seed=3)
    words = ["--split-share", "validation=0.25", "--split-seed", "3"]
    with pytest.raises(SystemExit):
        main(["manifest", "info", str(listed), *words, "--json"])
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["split_share"] == "validation=0.25 seed=3"
    assert told["splits"] == dict(Counter(expected.values()).most_common())
    with pytest.raises(SystemExit):
        main(["manifest", "convert", str(listed), *words, "--out", str(tmp_path / "own.csv")])
    assert splits_of(tmp_path / "own.csv") == expected
