"""The sound of a video as it is: its own rate and channels, where its time says."""

from pathlib import Path

import numpy as np
import pytest

from known_sound import joined
from pipeline.errors import MediaError
from pipeline.evaluate.separating.own_sound import OwnSound
from sounding_video import low_and_high, write_video


def whole(sound: OwnSound) -> np.ndarray:
    return np.concatenate(list(sound.pieces()), axis=1)


@pytest.mark.parametrize(
    ("layout", "channels", "rate_hz"),
    [("mono", 1, 44_100), ("stereo", 2, 48_000), ("5.1(side)", 6, 48_000), ("7.1", 8, 11_025)],
)
def test_every_channel_comes_as_it_is(layout: str, channels: int, rate_hz: int, tmp_path: Path) -> None:
    low, _ = low_and_high(2.6, rate_hz, channels)
    sound = OwnSound.of(str(write_video(tmp_path / "a.mkv", low, layout, rate_hz)))
    assert (sound.rate_hz, sound.layout, sound.channels) == (rate_hz, layout, channels)
    assert sound.samples == low.shape[1]
    np.testing.assert_allclose(whole(sound), low, atol=1e-6)
    heard = np.concatenate(list(sound.as_heard(8000, 1)), axis=1)
    assert heard.shape[1] == pytest.approx(2.6 * 8000, abs=40)


def test_before_sound_begins_there_is_silence(tmp_path: Path) -> None:
    low, _ = low_and_high(1.0, 16_000, 1)
    sound = OwnSound.of(str(write_video(tmp_path / "a.mkv", low, sound_from_s=0.8)))
    found = whole(sound)
    assert found.shape[1] == sound.samples == 12_800 + 16_000
    assert not found[:, :12_800].any()
    np.testing.assert_allclose(found[:, 12_800:], low, atol=1e-6)


def test_a_track_that_changes_its_rate_goes_on_with_the_first_one(tmp_path: Path) -> None:
    video = joined(tmp_path, [(1, 48000), (2, 44100), (1, 32000)])
    sound = OwnSound.of(str(video))
    found = whole(sound)
    assert (sound.rate_hz, sound.layout) == (48_000, "mono")
    assert found.shape == (1, sound.samples)
    assert sound.length_s == pytest.approx(float(sound.picture_s), abs=0.2)
    seconds = [found[0, start : start + 48_000] for start in range(0, found.shape[1] - 48_000, 48_000)]
    assert all(second.std() > 0.01 for second in seconds)


def test_a_video_without_sound_is_said(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="no audio track"):
        OwnSound.of(str(write_video(tmp_path / "a.mkv", None)))
