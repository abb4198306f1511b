"""Sound tracks of odd kinds are heard where they belong, by `gavt prepare` and out of shards of others alike."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

from known_sound import RATE_HZ, ffmpeg, joined, noise, remux, source_time, write_video
from pipeline.errors import MediaError
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.settings import PrepareSettings
from pipeline.prepare.video_samples import prepare_video
from pipeline.reasons import Reason
from pipeline.sound.audio import Window, read_windows
from pipeline.sound.channels import mixing_weights
from pipeline.sound.sound import cut_at_rate, decode_sound
from pipeline.sound.sound_frames import SoundFrames
from pipeline.video.video_file import open_video

RATE = 11025
TWO_SECONDS = PrepareSettings(audio_samples=2 * RATE, min_clip_s=1, frame_rate_hz=0.5, frame_choice="exact")
MIDDLES = [Fraction(value) for value in (2, 4, 6, 8, 10)]
PCM = ("-c:a", "pcm_s16le")
AAC = ("-c:a", "aac", "-b:a", "192k")
OTHER = noise(seed=99)


def windows_of(path: Path, middles: Sequence[Fraction] = MIDDLES) -> list[Window | Reason]:
    with open_video(str(path)) as video:
        return read_windows(video, middles, TWO_SECONDS)


def assert_in_place(path: Path, kind: str) -> None:
    """Both readers have the noise of seed 7 where the file's times say."""
    for window in windows_of(path):
        assert isinstance(window, Window), window
        found_s, likeness = source_time(window.audio[0])
        assert found_s - float(window.start_s) == pytest.approx(0, abs=2e-3)
        assert likeness > 0.8
    sound = decode_sound(path.read_bytes(), kind, 1)
    for middle in MIDDLES:
        cut = cut_at_rate(sound, float(middle) - 1, 2 * RATE, RATE)
        found_s, likeness = source_time(cut[0])
        assert found_s - float(middle) + 1 == pytest.approx(0, abs=2e-3)
        assert likeness > 0.8


@pytest.mark.parametrize(
    ("layout", "channels", "heard", "words", "kind"),
    [
        ("stereo", 2, [0], PCM, "mkv"),
        ("quad", 4, [0], AAC, "mp4"),
        ("5.1", 6, [2], AAC, "mp4"),
        ("5.1(side)", 6, [4], ("-c:a", "ac3", "-b:a", "448k"), "mkv"),
        ("7.1", 8, [6], ("-c:a", "flac"), "mkv"),
        ("hexadecagonal", 16, [2], PCM, "mkv"),
        ("ambisonic 1", 4, [0], ("-c:a", "libopus", "-mapping_family", "2", "-b:a", "400k"), "webm"),
        ("ambisonic 3", 16, [0], ("-c:a", "libopus", "-mapping_family", "2", "-b:a", "1600k"), "webm"),
        (None, 10, list(range(10)), ("-c:a", "libopus", "-mapping_family", "255", "-b:a", "1000k"), "mkv"),
    ],
)
def test_any_channel_layout_is_heard(
    layout: str | None, channels: int, heard: list[int], words: tuple[str, ...], kind: str, tmp_path: Path
) -> None:
    tracks = [noise() if place in heard else np.zeros_like(OTHER) for place in range(channels)]
    video = ("-c:v", "libvpx", "-deadline", "realtime", "-b:v", "100k") if kind == "webm" else ()
    path = write_video(tmp_path / f"a.{kind}", tracks, *words, *video, layout=layout)
    assert_in_place(path, kind)


def test_of_ambisonics_only_the_omnidirectional_channel_is_taken() -> None:
    assert mixing_weights("ambisonic 2", 1).tolist() == [[1, *[0] * 8]]
    assert mixing_weights("ambisonic 1+stereo", 2).tolist() == [[1, *[0] * 5]] * 2


@pytest.mark.parametrize("layout", ["stereo", "quad", "5.1", "7.1", "22.2", "10 channels", "30 channels", "binaural"])
@pytest.mark.parametrize("channels", [1, 2])
def test_mixing_never_exceeds_full_scale(layout: str, channels: int) -> None:
    weights = np.abs(mixing_weights(layout, channels)).sum(axis=1)
    assert weights.max() == pytest.approx(1, abs=1e-6)


def test_stereo_is_mixed_as_ffmpeg_mixes_it(tmp_path: Path) -> None:
    loud = [noise() * 1.9, noise() * 1.9]  # both at full scale: their sum would be cut off
    path = write_video(tmp_path / "a.mov", loud, *PCM)
    ffmpeg("-i", path, "-map", "0:a", "-ac", "1", "-ar", str(RATE), "-f", "s16le", tmp_path / "a.raw")
    expected = np.fromfile(tmp_path / "a.raw", "<i2")[4 * RATE : 6 * RATE].astype(np.float64)
    (window,) = windows_of(path, [Fraction(5)])
    assert isinstance(window, Window)
    found = window.audio[0].astype(np.float64)
    assert np.sqrt(np.square(found).mean()) == pytest.approx(np.sqrt(np.square(expected).mean()), rel=0.002)


def test_a_kind_that_ffmpeg_does_not_decode_is_named(tmp_path: Path) -> None:
    tracks = [noise(), OTHER, OTHER, OTHER]
    words = ("-c:a", "libopus", "-mapping_family", "2", "-c:v", "libvpx", "-deadline", "realtime")
    content = write_video(tmp_path / "a.webm", tracks, *words, layout="ambisonic 1").read_bytes()
    header = content.index(b"OpusHead")
    path = tmp_path / "b.webm"
    path.write_bytes(content[: header + 18] + b"\x63" + content[header + 19 :])  # a mapping that nobody has defined
    with pytest.raises(MediaError, match="FFmpeg does not decode the kind of") as caught:
        windows_of(path)
    assert caught.value.reason is Reason.UNREADABLE


@pytest.mark.parametrize(
    "kinds",
    [
        [(1, 48000), (2, 48000), (1, 48000)],
        [(1, 48000), (1, 44100), (1, 48000)],
        [(2, 44100), (1, 48000), (2, 32000)],
    ],
)
def test_a_track_may_change_its_channels_and_its_rate(kinds: list[tuple[int, int]], tmp_path: Path) -> None:
    path = joined(tmp_path, kinds)
    sound = decode_sound(path.read_bytes(), "ts", 1)
    assert len({part.rate_hz for part in sound.parts}) == len({rate for _, rate in kinds})
    for middle in (2, 3, 4, 5, 6, 7, 9, 10):
        (window,) = windows_of(path, [Fraction(middle)])
        assert isinstance(window, Window), window
        begin_s = float(window.start_s)
        shifts = []
        for audio in (window.audio[0], cut_at_rate(sound, begin_s, 2 * RATE, RATE)[0]):
            found_s, likeness = source_time(audio)
            shifts.append(found_s - begin_s)
            # the thirds lie up to 13 ms apart, as their encoders placed them
            assert likeness > (0.4 if any(abs(middle - change) < 1.1 for change in (4, 8)) else 0.8)
        assert shifts[0] == pytest.approx(0, abs=0.012)  # mp2 hides its delay of 10 ms
        # read from the beginning on, holes of up to 3 ms between the thirds close
        assert shifts[1] == pytest.approx(shifts[0], abs=0.0035 if middle in (2, 6, 10) else 0.012)


def test_sound_may_begin_before_the_picture(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mkv", [noise()], *PCM)
    path = remux(whole, tmp_path / "a.mp4", later_s=-0.5)
    with open_video(str(path)) as video:
        assert float(video.picture_start_s) == pytest.approx(0.5, abs=0.002)
    assert_in_place(path, "mp4")


@pytest.mark.parametrize("kind", ["mkv", "mp4", "ts"])
def test_windows_over_a_hole_are_left_out_and_the_others_stay_in_place(kind: str, tmp_path: Path) -> None:
    whole = write_video(tmp_path / f"whole.{kind}", [noise()], "-c:a", "aac", "-b:a", "160k")
    path = remux(whole, tmp_path / f"a.{kind}", without=(5.0, 7.0))
    prepared = prepare_video(VideoRow("v", str(path)), TWO_SECONDS)
    assert prepared.left_out == {"too_short": 2}
    before, over, after = windows_of(path, [Fraction(2), Fraction(6), Fraction(9)])
    assert over is Reason.TOO_SHORT
    for window in (before, after):
        assert isinstance(window, Window)
        found_s, likeness = source_time(window.audio[0])
        assert found_s - float(window.start_s) == pytest.approx(0, abs=0.003 if kind != "ts" else 0.022)  # AAC's delay
        assert likeness > 0.8


@pytest.mark.parametrize("layout", ["frame", "clip", "segments"])
@pytest.mark.parametrize(("later_s", "first_s", "last_s"), [(0, 6, 12), (8, 0, 6)])
def test_frames_outside_the_sound_are_too_short_in_every_layout(
    layout: str, later_s: int, first_s: float, last_s: float, tmp_path: Path
) -> None:
    short = noise()[: 4 * RATE_HZ]
    path = remux(write_video(tmp_path / "whole.mkv", [short], *AAC), tmp_path / "a.mkv", later_s=later_s)
    settings = TWO_SECONDS.model_copy(update={"layout": layout, "segments": 2})
    with pytest.raises(MediaError, match=r"begins later|ends before") as caught:
        prepare_video(VideoRow("v", str(path), start_s=first_s, end_s=last_s), settings)
    assert caught.value.reason is Reason.TOO_SHORT


def frame_of(audio: npt.NDArray[np.float32], tick: int | None) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(audio[None], format="fltp", layout="mono")
    frame.sample_rate, frame.pts = RATE_HZ, tick
    return frame


LENGTH = 1536  # samples of an AC-3 frame, 32 ms; 2880 ticks of MPEG's clock


@pytest.mark.parametrize(
    ("ticks", "places"),
    [
        ([0, 2880, 5760, 8640], [0, 1, 2, 3]),
        ([0, 5760, 5760, 8640], [0, 1, 2, 3]),  # the first of two is late
        ([0, 2880, 2880, 8640], [0, 1, 2, 3]),  # the second is early
        ([0, 2880, 2880, 2880, 11520], [0, 1, 2, 3, 4]),  # three in a packet, and its time
        ([0, 0, 5760], [0, 1, 2]),
        ([0, 2880, 2880], [0, 1, 2]),
        ([0, 2880, 11520, 14400], [0, 1, 4, 5]),  # a hole stays
        ([0, 2880, 2880, 5760], [0, 1, 1, 2]),  # no room for both: the later one counts, as of any overlap
        ([0, 28800, 28800, 34560], [0, 10, 11, 12]),  # behind a hole
    ],
)
def test_frames_of_one_time_follow_each_other_where_there_is_room(ticks: list[int], places: list[int]) -> None:
    sound = noise(rate_hz=RATE_HZ)
    frames = SoundFrames(1, Fraction(1, 90000), "matroska")
    expected = np.zeros(LENGTH * (max(places) + 1), np.float32)
    for number, (tick, place) in enumerate(zip(ticks, places, strict=True)):
        piece = sound[number * LENGTH : (number + 1) * LENGTH]
        frames.add(frame_of(piece, tick))
        expected[place * LENGTH : (place + 1) * LENGTH] = piece
    (part,) = frames.parts()
    np.testing.assert_array_equal(part.audio[0], expected)
    assert np.count_nonzero(part.heard) == LENGTH * len(set(places))


def test_ac3_in_a_vob_is_continuous(tmp_path: Path) -> None:
    path = write_video(
        tmp_path / "a.vob", [noise(), noise()], "-f", "vob", "-c:v", "mpeg2video", "-c:a", "ac3", "-b:a", "192k"
    )
    with open_video(str(path)) as video:
        frames = read_windows(video, MIDDLES, TWO_SECONDS)
    for window in frames:
        assert isinstance(window, Window)
        found_s, likeness = source_time(window.audio[0])
        assert found_s - float(window.start_s) == pytest.approx(0, abs=0.006)
        assert likeness > 0.95
