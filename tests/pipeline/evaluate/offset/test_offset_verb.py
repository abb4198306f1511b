"""`gavt offset` over lists, and lists that leave out what it found to be apart."""

import json
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import InUseError
from jobs import cli
from moved_sound import with_sound_later, write_movers
from pipeline.errors import ManifestError, SettingsError
from pipeline.evaluate.offset.by_model import ModelDetector
from pipeline.evaluate.offset.offset_file import OffsetFile
from pipeline.evaluate.offset.offsets import ONSETS, OffsetTask, judge_list
from pipeline.experiment import ExperimentSettings
from pipeline.prepare.fetch.settings import FetchSettings
from pipeline.prepare.manifests.options import ListOptions
from pipeline.prepare.manifests.read import VideoList
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.settings import PrepareSettings
from pipeline.settings.load import load_settings
from pipeline.train.load import Trained, untrained

CONFIG = Path(__file__).parents[4] / "configs/experiments/sync_movers.yaml"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos in sync, one 0.9 s apart, one that is no video."""
    scratch, folder = tmp_path_factory.mktemp("movers"), tmp_path_factory.mktemp("videos")
    first, second, _, third, *_ = write_movers(scratch, 2)
    with_sound_later(first, folder / "apart.mp4", 0.9)
    for path in (second, third):
        path.rename(folder / path.name)
    (folder / "torn.mp4").write_bytes(first.read_bytes()[:3000])
    return folder


def gavt(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, dict[str, Any], str]:
    with pytest.raises(SystemExit) as ended:
        cli.main([*map(str, words), "--json"])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), json.loads(out.splitlines()[-1]) if out else {}, err


def test_each_video_of_a_list_is_a_row_and_goes_on_where_it_stopped(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "offsets.jsonl"
    code, result, _ = gavt(capsys, "offset", folder, "--out", out)
    rows = {row["video"]: row for row in map(json.loads, out.read_text().splitlines())}
    assert code == 0
    assert (result["told"] + result["unsure"], result["failed"]) == (3, 1)
    assert result["reasons"] == {rows["torn"]["reason"]: 1} == {"unreadable": 1}
    assert rows["apart"]["offset_s"] == pytest.approx(0.9, abs=rows["apart"]["within_s"])
    assert rows["apart"]["by"] == "onsets"

    lines = out.read_text().splitlines(keepends=True)
    out.write_text("".join(lines[:2]) + lines[2][:20])  # killed while it wrote
    code, result, _ = gavt(capsys, "offset", folder, "--out", out)
    assert (code, result["known"]) == (0, 2)
    assert sorted(out.read_text().splitlines(keepends=True)) == sorted(lines)


def test_what_may_work_another_time_is_tried_again_and_counts_then(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, video = tmp_path / "offsets.jsonl", folder / "apart.mp4"
    early = ("-s", "prepare.limits.deadline_s=0.001", "-s", "prepare.limits.deadline_s_per_gb=0")
    assert gavt(capsys, "offset", video, "--out", out, *early)[1]["reasons"] == {"timeout": 1}
    assert gavt(capsys, "offset", video, "--out", out)[1]["told"] == 1
    assert gavt(capsys, "offset", video, "--out", out)[1]["known"] == 1
    with pytest.raises(ManifestError, match="found sound and picture apart"):
        list(VideoList([str(video)], ListOptions(offsets=str(out), max_offset_s=0.1)))


def test_a_file_is_written_by_one_at_a_time(tmp_path: Path) -> None:
    out = str(tmp_path / "offsets.jsonl")
    with OffsetFile(out, ONSETS), pytest.raises(InUseError, match="another gavt offset writes this file"):
        OffsetFile(out, ONSETS)
    with OffsetFile(out, ONSETS):  # the lock goes with who held it
        pass


@pytest.mark.parametrize("last", ['{"video": "b", "source": "/b.mp4"}', '{"video":"b"', "b.mp4"])
def test_a_file_of_something_else_stays_as_it_is(tmp_path: Path, last: str) -> None:
    mine = tmp_path / "list.jsonl"
    mine.write_text(last)  # as editors leave it, without a newline
    with pytest.raises(ManifestError, match=r"list.jsonl:1: expected a row of gavt offset"):
        OffsetFile(str(mine), ONSETS)
    assert mine.read_text() == last


def test_rows_that_another_detector_found_are_not_taken_for_this_one_s(tmp_path: Path) -> None:
    out = tmp_path / "offsets.jsonl"
    out.write_text('{"video": "a", "source": "/a.mp4", "status": "unsure", "by": "onsets"}\n')
    with pytest.raises(ManifestError, match=r"offsets.jsonl:1: expected rows by runs/movers, .*found one by onsets"):
        OffsetFile(str(out), "runs/movers")


def test_lists_leave_out_what_is_apart_and_say_so(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, kept = tmp_path / "offsets.jsonl", tmp_path / "kept.jsonl"
    gavt(capsys, "offset", folder, "--out", out)
    code, result, said = gavt(
        capsys, "manifest", "convert", folder, "--out", kept, "--offsets", out, "--max-offset", "0.2"
    )
    assert (code, result["rows"], result["apart"]) == (0, 3, 1)
    assert "s too late" in said
    assert "apart" not in {json.loads(line)["video"] for line in kept.read_text().splitlines()}

    options = ListOptions(offsets=str(out), max_offset_s=0.2)
    before = VideoList([str(folder)], options).fingerprint()
    out.write_text("".join(line for line in out.read_text().splitlines(keepends=True) if '"apart"' not in line))
    assert VideoList([str(folder)], options).fingerprint() != before


def test_offsets_of_other_videos_or_without_a_limit_are_refused(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text('{"video": "a", "source": "/elsewhere/a.mp4", "status": "told", "offset_s": 1.0}\n')
    with pytest.raises(ManifestError, match="found none about any of 4"):
        list(VideoList([str(folder)], ListOptions(offsets=str(other), max_offset_s=0.1)))
    with pytest.raises(ManifestError, match="expected both or neither"):
        VideoList([str(folder)], ListOptions(offsets=str(other)))
    other.write_text('{"video": "a"}\n')
    with pytest.raises(ManifestError, match=r"other.jsonl:1: expected a row of gavt offset, found one with source"):
        list(VideoList([str(folder)], ListOptions(offsets=str(other), max_offset_s=0.1)))


def test_a_deadline_is_kept_and_nothing_readable_at_all_is_an_error(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("-s", "prepare.limits.deadline_s=0.001", "-s", "prepare.limits.deadline_s_per_gb=0")
    code, result, said = gavt(capsys, "offset", folder / "apart.mp4", *words)
    assert (code, result["reasons"]) == (2, {"timeout": 1})
    assert "took longer than 0.001 s" in said
    code, result, said = gavt(capsys, "offset", folder / "torn.mp4")
    assert (code, result["reasons"]) == (2, {"unreadable": 1})
    assert said.splitlines()[-1].startswith(f"gavt: {folder / 'torn.mp4'}: ")


def untrained_on(*words: str) -> Trained:
    settings = load_settings(str(CONFIG), ExperimentSettings, list(words)).settings
    return Trained(untrained(settings, "cpu", 0), settings, 0, "runs/movers")


def test_a_model_is_asked_about_the_clips_of_a_video_and_one_that_has_learnt_nothing_tells_nothing(
    folder: Path,
) -> None:
    model = ModelDetector.of(untrained_on())
    rows = [VideoRow("whole", str(next(folder.glob("test_*.mp4")))), VideoRow("torn", str(folder / "torn.mp4"))]
    task = OffsetTask(PrepareSettings(), FetchSettings(), range_s=2.0, sure=0.9)
    told, failed = judge_list(rows, task, model=model)
    assert (told.status, told.by, told.within_s) == ("unsure", "runs/movers", pytest.approx(0.1))
    assert told.confidence is not None
    assert 1 / 21 <= told.confidence < 0.5
    assert (failed.status, failed.reason) == ("failed", "unreadable")


def test_a_model_that_only_tells_whether_sound_was_moved_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"runs/movers: expected a model that was trained to tell offsets"):
        ModelDetector.of(untrained_on("task.answer=in_sync"))
