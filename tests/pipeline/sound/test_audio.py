"""Audio windows lie where they say on the clock of the frames."""

import itertools
import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from barcode_video import RATE_HZ, bursts, read_barcode, write_video
from pipeline.errors import MediaError
from pipeline.prepare.settings import PrepareSettings
from pipeline.reasons import Reason
from pipeline.sound.audio import read_windows
from pipeline.video.video_file import open_video
from reading import read_frames

SECOND = PrepareSettings(audio_samples=11025)
SCATTERED = [Fraction(value, 10) for value in (11, 20, 28, 34, 90, 147)]

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "AAC in MP4": ("a.mp4", {}),
    "AAC in Matroska": ("a.mkv", {}),
    "AAC in a transport stream": ("a.ts", {}),
    "AAC in Flash": ("a.flv", {}),
    "starts at 8.3 s": ("a.mp4", {"start_s": 8.3}),
    "Opus in WebM": ("a.webm", {"codec": "libvpx-vp9", "audio_codec": "libopus"}),
    "MP3 in MP4": ("a.mp4", {"audio_codec": "libmp3lame"}),
    "FLAC in Matroska": ("a.mkv", {"audio_codec": "flac"}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_click_is_heard_within_5_ms_of_the_frame_it_belongs_to(kind: str, tmp_path: Path) -> None:
    name, how = KINDS[kind]
    path = write_video(tmp_path / name, **how)  # clicks every half second of what its frames show
    with open_video(str(path)) as video:
        frames = list(read_frames(video, SCATTERED))
        windows = read_windows(video, [frame.time_s for frame in frames], SECOND)
    offsets_ms = []
    for frame, window in zip(frames, windows, strict=True):
        assert window is not None
        shown = read_barcode(frame.pixels) / 25
        for burst in bursts(window.audio[0], 11025):
            heard = float(window.start_s) + burst - float(frame.time_s) + shown
            offsets_ms.append((heard - round(heard * 2) / 2) * 1000)
    assert len(offsets_ms) >= 10
    assert max(map(abs, offsets_ms)) <= 5


def test_flashes_and_beeps_of_a_real_file_fall_together() -> None:
    corpus = os.environ.get("GAVT_CORPUS")
    if not corpus:
        pytest.skip("GAVT_CORPUS is not set")
    settings = PrepareSettings(audio_samples=20 * 11025)
    with open_video(f"{corpus}/videos/energon_sync_test.mp4") as video:
        frames = read_frames(video, [Fraction(2 * frame + 1, 60) for frame in range(22 * 30, 42 * 30)])
        light = [(float(frame.time_s), float(frame.pixels.mean())) for frame in frames]
        window = read_windows(video, [Fraction(32)], settings)[0]
    assert window is not None
    flashes = [now for (_, before), (now, level) in itertools.pairwise(light) if level > before + 6]
    power = np.square(window.audio[0].astype(np.float64))
    loud = np.flatnonzero(power > power.max() * 0.02)
    beeps = loud[np.r_[True, np.diff(loud) > 11025 // 10]] / 11025 + float(window.start_s)
    assert len(flashes) >= 19
    # the file's own offset, found by decoding it from its start: flash at n + 33.3 ms, beep at n + 53.6 ms
    offsets = [float(beeps[np.argmin(np.abs(beeps - flash))]) - flash - 0.0202 for flash in flashes]
    assert max(map(abs, offsets)) <= 5e-3


def test_windows_at_the_ends_are_shifted_inside_the_track(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 8)
    settings = PrepareSettings()
    with open_video(str(path)) as video:
        first, last = read_windows(video, [Fraction(1, 10), Fraction(79, 10)], settings)
    assert first is not None
    assert last is not None
    assert first.audio.shape == last.audio.shape == (1, 65535)
    assert 0 <= first.start_s < 0.05
    assert float(last.start_s) + settings.window_s == pytest.approx(8, abs=0.05)


def test_the_true_start_is_stored_to_a_fraction_of_a_sample(tmp_path: Path) -> None:
    tone = 0.5 * np.sin(2 * np.pi * 200 * np.arange(8 * RATE_HZ) / RATE_HZ)
    path = write_video(tmp_path / "a.mov", 8, audio_codec="pcm_s16le", audio=tone[None].astype(np.float32))
    with open_video(str(path)) as video:
        for centre in (Fraction(1), Fraction(3), Fraction(31417, 7000)):
            window = read_windows(video, [centre], SECOND)[0]
            assert window is not None
            times = float(window.start_s) + np.arange(11025) / 11025
            expected = 0.5 * 32768 * np.sin(2 * np.pi * 200 * times)
            np.testing.assert_allclose(window.audio[0], expected, atol=60)


def test_a_track_shorter_than_a_window_is_too_short(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 5)
    with open_video(str(path)) as video, pytest.raises(MediaError) as caught:
        read_windows(video, [Fraction(2)], PrepareSettings())
    assert caught.value.reason == "too_short"
    assert "expected 5.94 s of audio or more, as prepare.audio_samples asks, found 5.0" in str(caught.value)


@pytest.mark.parametrize("length_s", [1, 4])
def test_a_track_that_is_repeated_keeps_the_sound_of_the_centre_there(length_s: int, tmp_path: Path) -> None:
    tone = 0.5 * np.sin(2 * np.pi * 0.5 * np.arange(length_s * RATE_HZ) / RATE_HZ)  # its value tells the time
    path = write_video(tmp_path / "a.mov", length_s, audio_codec="pcm_s16le", audio=tone[None].astype(np.float32))
    with open_video(str(path)) as video:
        for centre in (Fraction(1, 10), Fraction(1, 2), Fraction(9, 10)):
            (window,) = read_windows(video, [centre], PrepareSettings(), repeat=True)
            assert not isinstance(window, Reason)
            assert window.repeated
            assert window.audio.shape == (1, 65535)
            times = float(window.start_s) + np.arange(65535) / 11025
            assert times[32767] == pytest.approx(float(centre), abs=1 / 11025)
            expected = 0.5 * 32768 * np.sin(np.pi * (times % length_s))
            apart = np.abs(window.audio[0] - expected)[(times % length_s > 0.02) & (times % length_s < length_s - 0.02)]
            assert apart.max() < 60  # at a seam the filter of the resampling is heard
        (beside,) = read_windows(video, [Fraction(length_s + 1)], PrepareSettings(), repeat=True)
    assert beside is Reason.TOO_SHORT


def test_two_channels_are_kept_where_they_are_wanted(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 4)
    with open_video(str(path)) as video:
        window = read_windows(video, [Fraction(2)], PrepareSettings(audio_samples=11025, channels=2))[0]
    assert window is not None
    assert window.audio.shape == (2, 11025)
