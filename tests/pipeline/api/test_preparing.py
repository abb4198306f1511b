from pathlib import Path
from typing import Any

import pytest

import pipeline.api as gavt
from small_video import write_video

WORDS = ("prepare.audio_samples=4095", "prepare.frame_rate_hz=1")


def test_a_folder_of_videos_becomes_a_set_that_can_be_streamed(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos" / "one.mp4")
    told = []
    made = gavt.prepare(tmp_path / "videos", tmp_path / "shards", overrides=WORDS, on_progress=told.append)
    assert (made.videos, made.failed, made.reasons) == (1, 0, {})
    assert told[-1].samples == made.samples > 0
    with gavt.stream(tmp_path / "shards", 1, overrides=["data.workers=0"]) as batches:
        assert {batch["metadata"][0]["video"] for batch in batches} == {"one"}
    again = gavt.prepare([tmp_path / "videos"], tmp_path / "shards", overrides=WORDS)
    assert again == made


def test_nothing_at_all_is_an_error_that_says_why(tmp_path: Path) -> None:
    (tmp_path / "torn.mp4").write_bytes(b"no video")
    with pytest.raises(gavt.UserError, match=r"none of 1 videos gave a sample: unreadable \(1\), such as"):
        gavt.prepare(tmp_path / "torn.mp4", tmp_path / "shards")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"workers": 0}, "workers: expected 1 or more, found 0"),
        ({"max_failure_rate": float("nan")}, "max_failure_rate: expected a share, 0 to 1, found nan"),
        ({"retry": "alll"}, "found 'alll'; did you mean 'all'"),
    ],
)
def test_options_that_the_command_refuses_are_refused(tmp_path: Path, options: dict[str, Any], sentence: str) -> None:
    (tmp_path / "video.mp4").write_bytes(b"never opened")
    with pytest.raises(gavt.SettingsError, match=sentence):
        gavt.prepare(tmp_path / "video.mp4", tmp_path / "shards", **options)
    assert not (tmp_path / "shards").exists()
