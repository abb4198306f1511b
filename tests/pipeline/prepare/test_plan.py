"""The plan: written once, the same for the same rows, and refused to be another."""

import json
import re
from pathlib import Path

import pytest

from listed_rows import ListedRows
from pipeline.errors import ManifestError, ShardSetError
from pipeline.prepare import plan as plan_module
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.plan import read_plan, settle_plan, shard_rows
from pipeline.prepare.settings import LimitSettings, PrepareSettings

SETTINGS = PrepareSettings(rows_per_shard=2)
ROWS = [
    VideoRow("a", "/videos/a.mp4", labels=("violin", "flöte"), split="train"),
    VideoRow("b", "youtube:bbbbbbbbbbb", start_s=1.5, end_s=11.5, segment_labels=(("dog",), ())),
    VideoRow("c", "s3://bucket/c.mp4", boxes=((0.1, 0.2, 0.3, 0.4),), visible=("drum",), group="g"),
    VideoRow("d", "/videos/d.mp4", frame_s=5.25),
    VideoRow("e", "/videos/e.mp4"),
]


def test_every_shard_has_its_rows_back_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "_SHARDS_PER_PART", 2)
    plan = settle_plan(str(tmp_path), ListedRows(ROWS), SETTINGS)
    assert (plan.videos, plan.shards, len(plan.parts)) == (5, 3, 2)
    assert read_plan(str(tmp_path)) == plan
    assert list(shard_rows(str(tmp_path), plan, range(3))) == [(0, ROWS[:2]), (1, ROWS[2:4]), (2, ROWS[4:])]
    assert list(shard_rows(str(tmp_path), plan, [1])) == [(1, ROWS[2:4])]
    assert list(shard_rows(str(tmp_path), plan, [])) == []


def test_the_same_rows_and_settings_make_the_same_plan_and_others_another(tmp_path: Path) -> None:
    def hash_of(name: str, rows: list[VideoRow], settings: PrepareSettings) -> str:
        return settle_plan(str(tmp_path / name), ListedRows(rows), settings).hash

    first = hash_of("one", ROWS, SETTINGS)
    assert hash_of("same", ROWS, SETTINGS) == first
    assert (tmp_path / "one/plan.json").read_bytes() == (tmp_path / "same/plan.json").read_bytes()
    # what a video may cost does not decide what comes out
    assert hash_of("limits", ROWS, SETTINGS.model_copy(update={"limits": LimitSettings(memory_mb=4000)})) == first
    assert hash_of("order", ROWS[::-1], SETTINGS) != first
    assert hash_of("height", ROWS, SETTINGS.model_copy(update={"frame_height": 240})) != first


@pytest.mark.parametrize(
    ("rows", "settings", "difference"),
    [
        (ROWS, SETTINGS.model_copy(update={"frame_height": 240}), "prepare.frame_height was 480 and is now 240"),
        (ROWS[:-1], SETTINGS, "row 5 of its list was 'e', and the list ends before it now"),
        ([*ROWS, VideoRow("f", "f.mp4")], SETTINGS, "its list had 5 videos, and 'f' comes after them now"),
        ([ROWS[1], ROWS[0], *ROWS[2:]], SETTINGS, "row 1 of its list was 'a' and is now 'b'"),
        ([*ROWS[:4], VideoRow("e", "/else/e.mp4")], SETTINGS, "row 5 of its list, 'e', had other values"),
    ],
)
def test_another_plan_is_refused_with_what_differs(
    rows: list[VideoRow], settings: PrepareSettings, difference: str, tmp_path: Path
) -> None:
    settle_plan(str(tmp_path), ListedRows(ROWS), SETTINGS)
    before = (tmp_path / "plan.json").read_bytes()
    with pytest.raises(ShardSetError, match=re.escape(f"{tmp_path}: made by another plan: {difference}; expected")):
        settle_plan(str(tmp_path), ListedRows(rows), settings)
    assert (tmp_path / "plan.json").read_bytes() == before


def test_a_list_that_moved_but_says_the_same_is_the_same_plan(tmp_path: Path) -> None:
    class Moved(ListedRows):
        def fingerprint(self) -> str:
            return "another"

    plan = settle_plan(str(tmp_path), ListedRows(ROWS), SETTINGS)
    assert settle_plan(str(tmp_path), Moved(ROWS), SETTINGS) == plan


def test_rows_are_not_read_again_while_their_lists_are_the_same(tmp_path: Path) -> None:
    class Unread(ListedRows):
        def __iter__(self):  # type: ignore[no-untyped-def]
            raise AssertionError("read again")

    plan = settle_plan(str(tmp_path), ListedRows(ROWS), SETTINGS)
    assert settle_plan(str(tmp_path), Unread(ROWS), SETTINGS) == plan


def test_a_plan_that_was_killed_while_it_was_written_is_written_anew(tmp_path: Path) -> None:
    (tmp_path / "plan").mkdir()
    (tmp_path / "plan/shards-000000.jsonl").write_text("half")
    plan = settle_plan(str(tmp_path), ListedRows(ROWS), SETTINGS)
    assert list(shard_rows(str(tmp_path), plan, [0])) == [(0, ROWS[:2])]


def test_rows_that_somebody_changed_are_refused(tmp_path: Path) -> None:
    plan = settle_plan(str(tmp_path), ListedRows(ROWS), SETTINGS)
    file = tmp_path / plan.parts[0].file
    file.write_text(file.read_text().replace("a.mp4", "z.mp4"))
    with pytest.raises(ShardSetError, match=r"shards-000000\.jsonl: expected the rows that plan\.json was"):
        list(shard_rows(str(tmp_path), plan, [0]))


def test_no_videos_and_files_of_something_else_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="expected videos, found none"):
        settle_plan(str(tmp_path / "none"), ListedRows([]), SETTINGS)
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(ShardSetError, match="expected an empty folder or a shard set, found other files"):
        settle_plan(str(tmp_path), ListedRows(ROWS), SETTINGS)
    (tmp_path / "plan.json").write_text(json.dumps({"shards": 3}))
    with pytest.raises(ShardSetError, match=r"plan\.json: expected the plan of a shard set, found something else"):
        settle_plan(str(tmp_path), ListedRows(ROWS), SETTINGS)
