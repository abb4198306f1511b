"""Of a clip the frame of each moment is taken, in step with the sound, and little else is decoded."""

import io
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from barcode_video import barcode, clicks, read_barcode, write_video
from frames_and_sound import frames_and_sound
from pipeline.features.settings import Geometry
from pipeline.samples.metadata import SampleMetadata
from pipeline.shards.members import Sample
from pipeline.sound.flac import encode_flac
from pipeline.stream.decode import DecodedSample, decode_sample
from pipeline.stream.fields.frames import FramesField
from pipeline.stream.fields.sound import SoundField
from pipeline.video.clip import ClipEncoder, decode_clip
from pipeline.video.clip_frames import ClipFrames

FPS = Fraction(30000, 1001)
RATE = 21000
FRAMES = 299
SIZE = 112
CLICK_S = 0.5
STORED_S = 4.0  # where the clip begins in its video


def encoded(width: int, height: int, crf: int) -> bytes:
    """A clip of 10 s as `gavt prepare` stores it; each frame carries its number."""
    encoder = ClipEncoder(width, height, FPS, crf)
    for number in range(FRAMES):
        encoder.add(av.VideoFrame.from_ndarray(barcode(number, width, height), format="rgb24"))
    return encoder.finish()


@pytest.fixture(scope="module")
def clip() -> bytes:
    """A clip wider than high."""
    return encoded(280, 160, 23)


@cache
def square_clip() -> bytes:
    """The same, square, so that its bar code survives the crop."""
    return encoded(168, 168, 20)


@cache
def clip_sound() -> bytes:
    """Its sound, with a click every half second."""
    seconds = float(FRAMES / FPS)
    audio = clicks(seconds, np.arange(CLICK_S, seconds, CLICK_S).tolist(), RATE)
    return encode_flac((audio * 32767).astype(np.int16), RATE)


@pytest.fixture(scope="module")
def sound() -> bytes:
    return clip_sound()


def sample_of(clip: bytes, sound: bytes, foreign: bool = False, kind: str = "mp4") -> Sample:
    metadata = SampleMetadata(
        layout="clip",
        video="v",
        source="v.mp4",
        frame_times_s=[STORED_S + number / float(FPS) for number in range(FRAMES)],
        fps=float(FPS),
        audio_start_s=0.0 if foreign else STORED_S,
        audio_rate_hz=RATE,
        audio_samples=round(FRAMES / FPS * RATE),
    )
    return Sample("k", metadata, [], sound, clip, foreign, clip_kind=kind)


def spec(
    frames: int, seconds: float, frame_rate_hz: float | None = None, size: int = SIZE
) -> tuple[FramesField, SoundField]:
    return frames_and_sound(frames, size, frame_rate_hz, RATE, round(seconds * RATE), 1)


def number_of(frame: "np.typing.NDArray[np.uint8]") -> int:
    """The number of a frame [3, K, K] that shows all 280 columns: from a square clip."""
    return read_barcode(frame.transpose(1, 2, 0))


def clicks_of(decoded: DecodedSample, rate_hz: int = RATE) -> list[float]:
    """Times (s, on the clock of the decoded sample) of the clicks."""
    power = np.square(decoded.arrays["sound"][0].astype(np.float64))
    loud = np.flatnonzero(power > power.max() / 10)
    bursts = np.split(loud, np.flatnonzero(np.diff(loud) > rate_hz // 50) + 1)
    inside = [b for b in bursts if b[0] > rate_hz // 100 and b[-1] < len(power) - rate_hz // 100]
    return [float((b * power[b]).sum() / power[b].sum()) / rate_hz + decoded.audio_start_s for b in inside]


def off_clicks(times_s: list[float]) -> float:
    """Largest distance (s) from a multiple of the clicks' distance."""
    return max(abs(time - round(time / CLICK_S) * CLICK_S) for time in times_s)


@settings(deadline=None, max_examples=15)
@given(
    st.integers(1, 8),
    st.floats(0, 1),
    st.floats(0.5, 5.0),
    st.none() | st.sampled_from([float(FPS), float(FPS / 4), 5.0, 12.5]),
)
def test_each_frame_is_the_one_of_its_time_and_in_step_with_the_sound(
    frames: int, moment: float, seconds: float, rate_hz: float | None
) -> None:
    decoded = decode_sample(sample_of(square_clip(), clip_sound()), spec(frames, seconds, rate_hz), 0.5, moment)
    assert decoded.arrays["frames"].shape == (frames, 3, SIZE, SIZE)
    assert decoded.arrays["sound"].shape == (1, round(seconds * RATE))
    numbers = [number_of(frame) for frame in decoded.arrays["frames"]]
    assert decoded.frame_times_s == pytest.approx([STORED_S + number / float(FPS) for number in numbers])
    length = round(seconds * RATE) / RATE
    spread = frames / rate_hz if rate_hz else length
    wanted = [length / 2 + ((n + 0.5) / frames - 0.5) * spread for n in range(frames)]
    shown = [time - decoded.audio_start_s for time in decoded.frame_times_s]
    for moment_s, time in zip(wanted, shown, strict=True):  # shown from then for one frame's length
        assert time - 2e-6 <= moment_s < time + 1 / float(FPS) + 2e-6
    spare = float(FRAMES / FPS) - max(length, spread)
    begins = decoded.audio_start_s - STORED_S - (max(length, spread) - length) / 2
    assert begins == pytest.approx(moment * spare, abs=2 / RATE)
    heard = clicks_of(decoded)
    if heard:
        assert off_clicks([time - STORED_S for time in heard]) < 5e-3


def test_at_the_clips_own_rate_no_frame_is_missing_or_twice() -> None:
    decoded = decode_sample(sample_of(square_clip(), clip_sound()), spec(40, 1.0, float(FPS)), 0.5, 0.377)
    numbers = [number_of(frame) for frame in decoded.arrays["frames"]]
    assert numbers == list(range(numbers[0], numbers[0] + 40))


def test_the_whole_clip_can_be_taken() -> None:
    length = round(FRAMES / FPS * RATE) / RATE
    for moment in (0.0, 1.0):
        decoded = decode_sample(sample_of(square_clip(), clip_sound()), spec(1, length), 0.5, moment)
        assert decoded.audio_start_s == STORED_S
        assert number_of(decoded.arrays["frames"][0]) == FRAMES // 2


def test_a_clip_shorter_than_asked_for_is_said(clip: bytes, sound: bytes) -> None:
    with pytest.raises(
        ValueError, match=r"k: expected a clip of 12\.00 s or more as the features ask for, found 9\.98"
    ):
        decode_sample(sample_of(clip, sound), spec(60, 2.0, 5.0))
    with pytest.raises(ValueError, match=r"k: expected 231000 audio samples at 21000 Hz .* found 209509"):
        decode_sample(sample_of(clip, sound), spec(1, 11.0))


@pytest.mark.parametrize(("place", "left"), [(0.0, 0.0), (0.5, 60 / 280), (1.0, 120 / 280)])
def test_the_square_lies_where_it_is_asked_for(clip: bytes, sound: bytes, place: float, left: float) -> None:
    decoded = decode_sample(sample_of(clip, sound), spec(1, 1.0, size=80), place, 0.3)
    assert decoded.squares["centre"] == pytest.approx((left, 0, left + 160 / 280, 1), abs=0.01)
    whole = list(decode_clip(clip))[round((decoded.frame_times_s[0] - STORED_S) * FPS)]
    begin = round(left * 280)
    # 160 pixels to 80: means of 2 by 2
    wanted = whole[:, begin : begin + 160].reshape(80, 2, 80, 2, 3).mean(axis=(1, 3))
    assert np.abs(decoded.arrays["frames"][0].transpose(1, 2, 0) - wanted).mean() < 6


def test_frames_are_those_of_decoding_everything(clip: bytes) -> None:
    whole = list(decode_clip(clip))
    indices = [0, 3, 3, 17, 40, 41, 150, 200, 298]
    for index, frame in zip(indices, ClipFrames(clip).decode(indices), strict=True):
        assert np.array_equal(frame.to_ndarray(format="rgb24"), whole[index])


def test_little_more_is_decoded_than_needed(clip: bytes) -> None:
    frames = ClipFrames(clip)
    assert len(list(frames.decode([100]))) == 1
    assert frames.decoded <= 100 % 29 + 1
    frames = ClipFrames(clip)
    assert len(list(frames.decode([30, 32, 290, 291]))) == 4
    assert frames.decoded <= 6
    assert len(frames) == FRAMES


def test_a_frame_that_is_not_there_is_said(clip: bytes) -> None:
    with pytest.raises(ValueError, match="expected a clip of 300 frames or more, found 299"):
        list(ClipFrames(clip).decode([299]))


def test_damage_is_an_error_where_it_is_needed_and_nowhere_else(clip: bytes) -> None:
    with av.open(io.BytesIO(clip)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    position, size = packets[120]
    broken = bytearray(clip)
    broken[position + 4 : position + size] = np.random.default_rng(0).integers(0, 256, size - 4, np.uint8).tobytes()
    whole = list(decode_clip(clip))
    for index in (110, 160, 298):
        (frame,) = ClipFrames(bytes(broken)).decode([index])
        assert np.array_equal(frame.to_ndarray(format="rgb24"), whole[index])
    for index in (120, 130):
        with pytest.raises(ValueError, match="expected a whole clip"):
            list(ClipFrames(bytes(broken)).decode([index]))


@pytest.mark.parametrize("content", [b"", b"no video", encode_flac(np.zeros((1, 100), np.int16), RATE)])
def test_what_is_no_clip_is_refused(content: bytes, sound: bytes) -> None:
    with pytest.raises(ValueError, match="k: its clip can't be decoded: expected mp4"):
        decode_sample(sample_of(content, sound), spec(1, 1.0))


X264 = "keyint=30:min-keyint=30:scenecut=0"
OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "B-frames, open GOP": ("a.mp4", {"options": {"x264-params": f"{X264}:open-gop=1:bframes=3"}}),
    "B-frames, closed GOP": ("a.mp4", {"options": {"x264-params": f"{X264}:open-gop=0:bframes=3"}}),
    "intra refresh": ("a.mp4", {"options": {"x264-params": f"{X264}:intra-refresh=1:bframes=0"}}),
    "H.265, open GOP": ("a.mp4", {"codec": "libx265"}),
    "H.265 in Matroska": (
        "a.mkv",
        {"codec": "libx265", "options": {"x265-params": "keyint=30:open-gop=0:log-level=none"}},
    ),
    "VP9": ("a.webm", {"codec": "libvpx-vp9", "audio_codec": "libopus"}),
    "MPEG-4": ("a.mp4", {"codec": "mpeg4", "options": {"bf": "2"}}),
    "starts late": ("a.mkv", {"start_s": 2.3}),
    "MPEG-TS": ("a.ts", {"start_s": 1.4}),
    "variable frame rate": ("a.mp4", {"frame_times": np.cumsum([*[40] * 40, *[70] * 20, *[25] * 80]).tolist()}),
    "one keyframe": ("a.mp4", {"gop": 1000}),
}


@pytest.mark.parametrize("name", OTHERS)
def test_clips_of_others_show_the_frame_of_the_moment_and_their_own_sound(name: str, tmp_path: Path) -> None:
    file, how = OTHERS[name]
    path = write_video(tmp_path / file, 5, size=(168, 168), **how)
    content = path.read_bytes()
    with av.open(str(path)) as container:
        packets = sorted(p.pts for p in container.demux(video=0) if p.size and not p.is_discard)
        tick = container.streams.video[0].time_base
        zero = min(stream.start_time * stream.time_base for stream in container.streams)
    times = [float(pts * tick - zero) for pts in packets]
    sample = sample_of(content, b"", foreign=True, kind=path.suffix[1:])
    for moment, seconds, frames in ((0.0, 1.0, 3), (0.61, 2.0, 5), (1.0, 1.5, 2)):
        decoded = decode_sample(sample, spec(frames, seconds), 0.5, moment)
        numbers = [number_of(frame) for frame in decoded.arrays["frames"]]
        assert decoded.frame_times_s == pytest.approx([times[number] for number in numbers])
        for part, number in enumerate(numbers):
            wanted = decoded.audio_start_s + (part + 0.5) / frames * decoded.arrays["sound"].shape[1] / RATE
            assert times[number] <= wanted + 2e-6
            assert number + 1 == len(times) or wanted < times[number + 1] + 2e-6
        shift = times[0] if file.endswith(".ts") else 0.0  # its picture waits for the sound's first packet
        heard = clicks_of(decoded)
        assert len(heard) >= 1
        assert off_clicks([time - shift for time in heard]) < 5e-3


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_a_turned_clip_is_upright(rotation: int, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 3, size=(280, 168), rotation=rotation)
    decoded = decode_sample(sample_of(path.read_bytes(), b"", foreign=True), spec(1, 1.0, size=168), 0.5, 0.0)
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    shown = frames[round(decoded.frame_times_s[0] * 25)]
    upright = np.rot90(shown.to_ndarray(format="rgb24"), shown.rotation // 90)
    top, left = ((length - 168) // 2 for length in upright.shape[:2])
    wanted = upright[top : top + 168, left : left + 168].astype(np.int64)
    assert np.abs(decoded.arrays["frames"][0].transpose(1, 2, 0) - wanted).mean() < 3
    left, _, right, _ = decoded.squares["centre"]
    assert right - left == pytest.approx(168 / upright.shape[1], abs=0.01)


@pytest.mark.parametrize("geometry", ["squash", "letterbox"])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_the_whole_upright_frame_is_squashed_or_gets_bars(geometry: Geometry, rotation: int, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 2, size=(280, 168), rotation=rotation)
    frames, sound = spec(1, 1.0, size=70)
    asked = (replace(frames, geometry=geometry), sound)
    decoded = decode_sample(sample_of(path.read_bytes(), b"", foreign=True), asked, 0.1)
    with av.open(str(path)) as container:
        shown = list(container.decode(video=0))[round(decoded.frame_times_s[0] * 25)]
    upright = Image.fromarray(np.ascontiguousarray(np.rot90(shown.to_ndarray(format="rgb24"), shown.rotation // 90)))
    wide = 70, 42
    inner = (70, 70) if geometry == "squash" else wide if upright.width > upright.height else wide[::-1]
    wanted = Image.new("RGB", (70, 70))
    wanted.paste(upright.resize(inner, Image.Resampling.BILINEAR), tuple((70 - length) // 2 for length in inner))
    found = decoded.arrays["frames"][0].transpose(1, 2, 0).astype(np.int64)
    assert np.abs(found - np.asarray(wanted)).mean() < 6
    left, top, right, bottom = decoded.squares[geometry]
    assert (right - left, bottom - top) == pytest.approx((70 / inner[0], 70 / inner[1]))
    assert (left + right, top + bottom) == pytest.approx((1, 1))


def test_pixels_that_are_not_square_are_stretched(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 2, size=(168, 168), pixel_aspect=Fraction(2))
    decoded = decode_sample(sample_of(path.read_bytes(), b"", foreign=True), spec(1, 1.0, size=168), 0.0)
    assert decoded.squares["centre"] == pytest.approx((0, 0, 0.5, 1))
    # the left half of the columns, each twice as wide: the lower half of the bits
    shown = decoded.arrays["frames"][0, :, 42].mean(axis=0)
    bits = [shown[24 * bit + 6 : 24 * bit + 18].mean() > 125 for bit in range(7)]
    assert sum(1 << place for place, bit in enumerate(bits) if bit) == round(decoded.frame_times_s[0] * 25)


def test_a_clip_without_sound_is_said(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 2, audio_codec=None)
    with pytest.raises(ValueError, match="k: its sound can't be decoded: expected mp4 with sound, found none"):
        decode_sample(sample_of(path.read_bytes(), b"", foreign=True), spec(1, 1.0))
