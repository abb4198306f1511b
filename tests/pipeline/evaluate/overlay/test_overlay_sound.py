"""The overlay video has the source's sound, whatever its channels and rates are."""

from fractions import Fraction
from pathlib import Path

import pytest

from known_sound import joined, noise, remux, source_time, write_video
from pipeline.evaluate.overlay.overlay_video import write_overlay_video
from pipeline.prepare.settings import PrepareSettings
from pipeline.sound.audio import Window, read_windows
from pipeline.video.video_file import open_video

TWO_SECONDS = PrepareSettings(audio_samples=22050)


def windows_of_overlay(source: Path, folder: Path, middles: list[int]) -> list[Window]:
    """Two seconds of an overlay's sound around each moment."""
    write_overlay_video(str(source), lambda pixels, time_s: pixels, folder / "overlay.mp4", lambda done, total: None)
    found = []
    with open_video(str(folder / "overlay.mp4")) as video:
        for middle in middles:
            (window,) = read_windows(video, [Fraction(middle)], TWO_SECONDS)
            assert isinstance(window, Window)
            found.append(window)
    return found


@pytest.mark.parametrize("kind", ["changes", "ambisonic", "an odd rate"])
def test_the_overlay_s_sound_is_the_source_s(kind: str, tmp_path: Path) -> None:
    if kind == "changes":
        source = joined(tmp_path, [(1, 48000), (2, 44100), (1, 32000)])
    elif kind == "ambisonic":
        words = ("-c:a", "libopus", "-mapping_family", "2", "-c:v", "libvpx", "-deadline", "realtime")
        tracks = [noise(), *[noise(seed=99)] * 3]
        source = write_video(tmp_path / "a.webm", tracks, *words, layout="ambisonic 1")
    else:
        source = write_video(tmp_path / "a.mkv", [noise(rate_hz=37800)], "-c:a", "pcm_s16le", rate_hz=37800)
    with open_video(str(source)) as video:
        heard = [read_windows(video, [Fraction(middle)], TWO_SECONDS)[0] for middle in (2, 6, 10)]
    for before, after in zip(heard, windows_of_overlay(source, tmp_path, [2, 6, 10]), strict=True):
        assert isinstance(before, Window)
        shift = [source_time(one.audio[0])[0] - float(one.start_s) for one in (before, after)]
        assert shift[1] == pytest.approx(shift[0], abs=0.003)
        assert source_time(after.audio[0])[1] > 0.8


def test_sound_behind_a_hole_stays_in_its_place(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mkv", [noise()], "-c:a", "pcm_s16le")
    source = remux(whole, tmp_path / "a.mkv", without=(4.0, 6.0))
    written = windows_of_overlay(source, tmp_path, [2, 9])
    for window in written:
        assert source_time(window.audio[0])[0] == pytest.approx(float(window.start_s), abs=0.003)
