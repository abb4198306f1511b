"""Videos without an audio track: they fail, or are ones with silence, as the recipe says."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from barcode_video import read_barcode, write_video
from listed_rows import ListedRows
from pipeline.errors import MediaError
from pipeline.prepare.layouts.sample import PreparedVideo
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.prepare import in_this_process, prepare
from pipeline.prepare.settings import PrepareSettings
from pipeline.prepare.video_samples import prepare_video
from pipeline.reasons import Reason
from pipeline.samples.metadata import SampleMetadata
from pipeline.shards.ledger import read_ledger
from pipeline.sound.flac import decode_flac
from pipeline.video.clip import decode_clip

CLIPS: dict[str, Any] = {"layout": "clip", "clip_s": 1.0, "min_clip_s": 1, "clip_fps": 25, "channels": 2}
SILENCE: dict[str, Any] = {"no_audio": "silence", "silence_dbfs": None, "audio_samples": 11025}


def prepared(path: Path, **words: Any) -> PreparedVideo:
    return prepare_video(VideoRow("video", str(path)), PrepareSettings(**words))


def test_without_an_audio_track_a_video_fails_unless_silence_is_asked_for(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", 3.2, audio_codec=None, codec="mpeg4")
    with pytest.raises(MediaError, match="no audio track") as caught:
        prepared(path, **CLIPS)
    assert caught.value.reason is Reason.NO_AUDIO
    found = prepared(path, **CLIPS, **SILENCE)
    assert (found.silent, len(found.samples)) == (True, 3)
    for second, sample in enumerate(found.samples):
        shown = [read_barcode(picture) for picture in decode_clip(sample.files["mp4"])]
        assert shown == list(range(25 * second, 25 * second + 25))
        audio, rate_hz = decode_flac(sample.files["flac"])
        assert (rate_hz, audio.shape, np.count_nonzero(audio)) == (11025, (2, 11025), 0)
        assert SampleMetadata.model_validate_json(sample.files["json"]).audio_start_s == second


@pytest.mark.parametrize("layout", ["frame", "segments"])
def test_other_layouts_have_silence_in_the_same_place(layout: str, tmp_path: Path) -> None:
    words = SILENCE | {"layout": layout, "segments": 3, "frame_rate_hz": 1}
    mute = prepared(write_video(tmp_path / "mute.mp4", 5, audio_codec=None), **words)
    heard = prepared(write_video(tmp_path / "heard.mp4", 5), **words)
    assert (mute.silent, heard.silent) == (True, False)
    assert [one.key for one in mute.samples] == [one.key for one in heard.samples]
    for one, other in zip(mute.samples, heard.samples, strict=True):
        (silence, _), (sound, _) = (decode_flac(sample.files["flac"]) for sample in (one, other))
        assert silence.shape == sound.shape
        assert not silence.any()
        assert sound.any()


def test_the_ledger_says_that_silence_stands_for_sound(tmp_path: Path) -> None:
    rows = [
        VideoRow("mute", str(write_video(tmp_path / "mute.mp4", 2, audio_codec=None))),
        VideoRow("heard", str(write_video(tmp_path / "heard.mp4", 2))),
    ]
    prepare(ListedRows(rows), str(tmp_path / "out"), PrepareSettings(**CLIPS, **SILENCE), in_this_process)
    mute, heard = read_ledger(str(tmp_path / "out"))
    assert (mute.status, mute.message) == ("ok", "no audio track: silence stands for it")
    assert (heard.status, heard.message) == ("ok", None)


def test_silence_that_would_be_left_out_is_refused() -> None:
    with pytest.raises(ValidationError, match="silence_dbfs = null for no_audio = silence, found -60"):
        PrepareSettings(no_audio="silence")


def test_a_clock_that_starts_again_goes_on_without_sound_too(tmp_path: Path) -> None:
    once = write_video(tmp_path / "once.ts", 2, audio_codec=None)
    twice = tmp_path / "twice.ts"
    twice.write_bytes(once.read_bytes() * 2)
    found = prepared(twice, **CLIPS, **SILENCE)
    shown = [read_barcode(picture) for sample in found.samples for picture in decode_clip(sample.files["mp4"])]
    assert len(shown) == 100
    assert shown[:50] == list(range(50))
    behind = [number for number in shown[50:] if number != 49]  # the last picture stands for the gap of half a second
    assert behind[:2] == [0, 1]
    assert behind == sorted(behind)
