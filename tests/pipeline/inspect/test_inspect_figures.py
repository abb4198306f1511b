"""The figures of `gavt inspect` are right, of whatever is there."""

from pathlib import Path

import pytest
from inspected import damage, look, places_of, said

from pipeline.errors import ShardSetError
from pipeline.inspect.contact_sheet import write_sheet
from pipeline.inspect.contents import read_contents
from pipeline.inspect.figures import hours, size, spread
from pipeline.inspect.verify import verify


def test_figures_are_those_of_what_was_prepared(prepared: Path) -> None:
    summary = look(prepared / "frame")
    assert (summary.finished, summary.shards_done, summary.shards_planned) == (True, 3, 3)
    assert (summary.videos, summary.videos_planned, summary.failed) == (5, 5, 1)
    assert summary.reasons == {"missing": 1}
    assert "gone.mp4" in summary.examples["missing"]
    assert (
        summary.samples == summary.looked_at == sum(len(places_of(prepared / "frame", number)) for number in range(3))
    )
    assert summary.bytes == sum(path.stat().st_size for path in (prepared / "frame").glob("*.tar"))
    assert summary.resolutions == {"210×120": summary.samples}
    assert summary.labels["dog"] == summary.labels["<i>bark</i>"]
    assert sum(summary.splits.values()) == summary.samples
    assert summary.audio_hours == pytest.approx(summary.samples / 3600)
    assert summary.audio_s is not None
    assert (summary.audio_s.least, summary.audio_s.median, summary.audio_s.most) == (1, 1, 1)
    assert summary.settings is not None
    assert summary.settings["frame_rate_hz"] == 1


def test_clips_and_segments_have_figures_too(prepared: Path) -> None:
    clips, segments = look(prepared / "clip"), look(prepared / "segments")
    assert (clips.samples, clips.layouts, clips.resolutions) == (8, ["clip"], {"210×120": 8})
    assert clips.frames is not None
    assert (clips.frames.least, clips.frames.most) == (37, 37)
    assert (segments.samples, segments.layouts) == (4, ["segments"])
    assert segments.frames is not None
    assert segments.frames.median == 3


def test_some_samples_by_chance_are_the_same_ones_again(prepared: Path) -> None:
    assert look(prepared / "frame", 3) == look(prepared / "frame", 3)
    assert look(prepared / "frame", 3).looked_at == 3
    assert look(prepared / "frame", None) == look(prepared / "frame")


def test_an_unfinished_shard_set_is_shown_as_far_as_it_is(shards: Path) -> None:
    whole = look(shards)
    for name in ("dataset.json", "ledger.jsonl", "shard-000001.json", "shard-000001.tar"):
        (shards / name).unlink()
    summary = look(shards)
    assert (summary.finished, summary.shards_done, summary.shards_planned) == (False, 2, 3)
    assert (summary.videos, summary.videos_planned, summary.failed) == (3, 5, 1)
    assert summary.reasons == {"missing": 1}
    assert "gone.mp4" in summary.examples["missing"]
    assert summary.samples == whole.samples - 3 * 2
    assert look(shards, None) == summary
    verified = verify(str(shards), 0)
    assert said(verified) == []
    assert verified.notes == ["not finished: 2 of 3 shards are done; gavt prepare makes the others"]


def test_a_plan_alone_is_a_shard_set_without_samples(shards: Path, tmp_path: Path) -> None:
    for path in [*shards.glob("shard-*"), shards / "dataset.json", shards / "ledger.jsonl"]:
        path.unlink()
    summary = look(shards)
    assert (summary.samples, summary.looked_at, summary.shards_planned) == (0, 0, 3)
    write_sheet(read_contents(str(shards)), summary, str(tmp_path / "page.html"), 24, 0)
    assert "not finished" in (tmp_path / "page.html").read_text()
    verified = verify(str(shards), 0)
    assert not verified.whole
    assert said(verified) == [f"{shards}: expected samples to check, found none in 0 shards"]


def test_a_folder_of_something_else_is_said(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ShardSetError, match="expected a shard set"):
        read_contents(str(tmp_path))


def test_a_sample_that_cannot_be_read_is_said_and_the_others_are_shown(shards: Path) -> None:
    damage(shards / "shard-000000.tar", places_of(shards, 0)[1].offset + 10, b"\xff" * 200)
    summary = look(shards)
    assert len(summary.unreadable) == 1
    assert places_of(shards, 0)[1].key in summary.unreadable[0]
    assert summary.looked_at == summary.samples - 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (size(0), "0 B"),
        (size(999), "999 B"),
        (size(1234567), "1.23 MB"),
        (size(5e12), "5.00 TB"),
        (hours(0.01), "36 s"),
        (hours(0.5), "30.0 min"),
        (hours(12345), "12,345.0 h"),
        (spread(None), "–"),
    ],
)
def test_figures_are_written_in_the_unit_that_fits(words: str, expected: str) -> None:
    assert words == expected
