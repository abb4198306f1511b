"""Pixels and samples are the ones that PIL and FFmpeg's parser give, whichever faster way they take."""

import io
import subprocess
import sys
from fractions import Fraction
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from frames_and_sound import frames_and_sound
from pipeline.features.settings import Geometry
from pipeline.samples.metadata import Box, SampleMetadata
from pipeline.shards.members import Sample
from pipeline.sound.flac import decode_flac, encode_flac
from pipeline.sound.sound import cut_at_rate, decode_sound
from pipeline.stream.decode import DecodedSample, decode_sample
from pipeline.stream.fields.frames import FramesField
from pipeline.stream.fields.sound import SoundField

RATE = 11025


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8))
    pixels = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(np.int64)
    return Image.fromarray(np.clip(pixels + generator.normal(0, 6, (height, width, 1)), 0, 255).astype(np.uint8))


def coded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def music(samples: int = 20000, channels: int = 1, rate_hz: int = RATE) -> npt.NDArray[np.int16]:
    time = np.arange(samples) / rate_hz
    tones = sum(np.sin(2 * np.pi * pitch * time) / (n + 2) for n, pitch in enumerate((220, 441, 662, 1325)))
    noise = np.random.default_rng(1).normal(0, 0.02, (channels, samples))
    return np.clip((tones + noise) * 9000 * np.arange(1, channels + 1)[:, None], -32768, 32767).astype(np.int16)


def metadata(**fields: Any) -> SampleMetadata:
    known = {"video": "v", "source": "v.mp4", "frame_times_s": [2.0], "audio_start_s": 1.0, "audio_rate_hz": RATE}
    return SampleMetadata.model_validate(known | {"audio_samples": 20000} | fields)


def spec(**fields: Any) -> tuple[FramesField, SoundField]:
    known = {"frames": 1, "frame_size": 64, "frame_rate_hz": None, "audio_rate_hz": RATE, "audio_samples": 8000}
    return frames_and_sound(**(known | {"channels": 1} | fields))


def sample_of(*images: bytes, audio: bytes | None = None, foreign: bool = False, kind: str = "flac") -> Sample:
    times = [2.0 + place for place in range(len(images))]
    sound = encode_flac(music(), RATE) if audio is None else audio
    return Sample("k", metadata(frame_times_s=times), list(images), sound, None, foreign, kind)


def square_of(decoded: DecodedSample) -> Box:
    """Where the one square that it has lies in the picture."""
    (square,) = decoded.squares.values()
    return square


def plain_square(content: bytes, size: int, place: float) -> npt.NDArray[np.uint8]:
    """The square as PIL alone gives it."""
    with Image.open(io.BytesIO(content)) as image:
        image.draft("RGB", (size, size))
        pixels = image.convert("RGB")
    width, height = pixels.size
    side = min(width, height)
    left, top = round((width - side) * place), round((height - side) * place)
    if (width, height) != (size, size):
        box = (left, top, left + side, top + side)
        pixels = pixels.resize((size, size), Image.Resampling.BILINEAR, box=box)
    return np.array(pixels).transpose(2, 0, 1)


@pytest.mark.parametrize("shape", [(455, 256), (256, 256), (144, 256), (853, 480), (64, 64), (40, 30)])
@pytest.mark.parametrize(("size", "place"), [(64, 0.5), (183, 0.0), (256, 0.83)])
def test_pixels_are_those_of_pil(shape: tuple[int, int], size: int, place: float) -> None:
    content = coded(picture(*shape), quality=90)
    decoded = decode_sample(sample_of(content), spec(frame_size=size), place)
    assert decoded.arrays["frames"].shape == (1, 3, size, size)
    assert np.array_equal(decoded.arrays["frames"][0], plain_square(content, size, place))
    x1, y1, x2, y2 = square_of(decoded)
    side = min(shape)
    assert (x2 - x1) * shape[0] == pytest.approx(side, abs=2)
    assert (y2 - y1) * shape[1] == pytest.approx(side, abs=2)
    assert min(x1, y1) == 0
    assert x1 * shape[0] == pytest.approx(max(shape[0] - shape[1], 0) * place, abs=2)


def place_of(colour: npt.NDArray[np.uint8]) -> tuple[float, float, float, float]:
    """Box of what is bright in one colour [K, K], in 0–1 of the square."""
    rows, columns = np.nonzero(colour > 127)
    size = len(colour)
    return columns.min() / size, rows.min() / size, (columns.max() + 1) / size, (rows.max() + 1) / size


def within(box: tuple[float, ...], square: tuple[float, ...]) -> tuple[float, ...]:
    """A box of the picture, in units of a square of it."""
    (left, top, right, bottom), (x1, y1, x2, y2) = square, box
    width, height = right - left, bottom - top
    return (x1 - left) / width, (y1 - top) / height, (x2 - left) / width, (y2 - top) / height


@pytest.mark.parametrize("geometry", ["centre", "squash", "letterbox"])
@pytest.mark.parametrize("shape", [(854, 480), (480, 854), (512, 384), (300, 300), (90, 50), (1000, 40)])
@pytest.mark.parametrize("size", [64, 224])
def test_a_place_of_the_picture_lies_where_its_square_says(
    shape: tuple[int, int], size: int, geometry: Geometry
) -> None:
    """A red box in the middle of the picture is found where its corners come to lie in the square."""
    width, height = shape
    half = min(shape) // 4
    box = ((width // 2 - half) / width, (height // 2 - half) / height)
    box = (*box, (width // 2 + half) / width, (height // 2 + half) / height)
    image = Image.new("RGB", shape)
    image.paste((255, 0, 0), (width // 2 - half, height // 2 - half, width // 2 + half, height // 2 + half))
    decoded = decode_sample(sample_of(coded(image, "PNG")), spec(frame_size=size, geometry=geometry))
    expected = within(box, square_of(decoded))
    assert place_of(decoded.arrays["frames"][0, 0]) == pytest.approx(expected, abs=1.01 / size)
    if geometry == "squash":
        assert square_of(decoded) == (0, 0, 1, 1)
    if geometry == "letterbox":  # the whole picture is there, as wide to high as it was
        x1, y1, x2, y2 = within((0, 0, 1, 1), square_of(decoded))
        assert max(x2 - x1, y2 - y1) == 1
        assert (x2 - x1) * size / ((y2 - y1) * size) == pytest.approx(width / height, rel=0.3 if 40 in shape else 0.02)


def test_the_bars_of_a_letterbox_are_black_and_the_picture_between_them_is_whole() -> None:
    white = decode_sample(
        sample_of(coded(Image.new("RGB", (320, 180), (255, 255, 255)))), spec(frame_size=64, geometry="letterbox")
    )
    rows = white.arrays["frames"][0].min(axis=(0, 2))
    assert rows.tolist() == [0] * 14 + [255] * 36 + [0] * 14
    assert within((0, 0, 1, 1), square_of(white)) == pytest.approx((0, 14 / 64, 1, 50 / 64))


@pytest.mark.parametrize("mode", ["L", "CMYK", "P", "RGBA"])
def test_pictures_of_other_modes_become_rgb(mode: str) -> None:
    image = picture(80, 80).convert(mode)
    content = coded(image, "PNG" if mode in ("P", "RGBA") else "JPEG")
    decoded = decode_sample(sample_of(content), spec(frame_size=80))
    assert np.array_equal(decoded.arrays["frames"][0], plain_square(content, 80, 0.5))


def test_a_photo_is_turned_upright_as_its_exif_says() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = picture(96, 64)
    content = coded(image, exif=exif, quality=95)
    decoded = decode_sample(sample_of(content), spec())
    upright = np.asarray(image.rotate(-90, expand=True).crop((0, 16, 64, 80)), np.int64)
    assert np.abs(decoded.arrays["frames"][0].transpose(1, 2, 0) - upright).mean() < 6
    assert square_of(decoded) == pytest.approx((0, 1 / 6, 1, 5 / 6), abs=0.02)


@pytest.mark.parametrize("content", [b"", b"no picture", coded(picture(80, 80))[:2000], coded(picture(8, 8), "BMP")])
def test_a_picture_that_is_none_is_refused_with_a_sentence(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"^k: an image in it can't be decoded: "):
        decode_sample(sample_of(content), spec())


def parsed(content: bytes) -> npt.NDArray[np.int16]:
    """Audio [C, S] by FFmpeg's own demuxer and parser."""
    with av.open(io.BytesIO(content), format="flac") as container:
        channels = container.streams.audio[0].codec_context.channels
        pieces = [frame.to_ndarray().reshape(-1, channels) for frame in container.decode(audio=0)]
    return np.concatenate(pieces).T


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 2), st.integers(1, 9000), st.sampled_from([8000, 11025, 48000]), st.sampled_from([0.0, 1.0, 300.0])
)
def test_flac_gives_the_samples_that_went_in(channels: int, samples: int, rate_hz: int, loud: float) -> None:
    noise = np.random.default_rng(samples).normal(0, 1, (channels, samples)) * loud
    audio = (music(samples, channels) * (loud > 0) + noise).clip(-32768, 32767).astype(np.int16)
    content = encode_flac(audio, rate_hz)
    found, rate = decode_flac(content)
    assert rate == rate_hz
    assert np.array_equal(found, audio)
    assert np.array_equal(found, parsed(content))
    assert found.flags.writeable


def test_every_changed_byte_of_flac_is_noticed_or_without_effect() -> None:
    audio = music(3000)
    content = encode_flac(audio, RATE)
    noticed = 0
    for place in range(42, len(content), 7):
        broken = bytearray(content)
        broken[place] ^= 0x15
        try:
            assert np.array_equal(decode_flac(bytes(broken))[0], audio)
        except ValueError:
            noticed += 1
    assert noticed > 0.9 * (len(content) - 42) / 7 - 200


@pytest.mark.parametrize("junk", [(b"", b"TAG" + b"\0" * 125), (b"ID3\4\0\0\0\0\0\n" + b"\0" * 10, b"")])
def test_flac_between_tags_is_found(junk: tuple[bytes, bytes]) -> None:
    audio = music(5000)
    assert np.array_equal(decode_flac(junk[0] + encode_flac(audio, RATE) + junk[1])[0], audio)


@pytest.mark.parametrize("content", [b"", b"fLaC", b"no sound at all", encode_flac(music(5000), RATE)[:42]])
def test_what_is_no_flac_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="expected FLAC audio"):
        decode_flac(content)


def test_the_middle_of_the_sound_is_taken_and_its_time_told() -> None:
    decoded = decode_sample(sample_of(coded(picture(64, 64))), spec())
    assert np.array_equal(decoded.arrays["sound"], music()[:, 6000:14000])
    assert decoded.audio_start_s == pytest.approx(1 + 6000 / RATE)
    assert decoded.frame_times_s == [2.0]


@pytest.mark.parametrize(("stored", "asked"), [(1, 1), (2, 2), (1, 2), (2, 1)])
def test_channels_are_averaged_or_repeated(stored: int, asked: int) -> None:
    audio = music(channels=stored)
    content = encode_flac(audio, RATE)
    found = decode_sample(sample_of(coded(picture(64, 64)), audio=content), spec(channels=asked)).arrays["sound"]
    assert found.shape == (asked, 8000)
    window = audio[:, 6000:14000].astype(np.int64)
    wanted = window if stored == asked else np.repeat(window.sum(0, keepdims=True) // stored, asked, 0)
    assert np.array_equal(found, wanted)


@pytest.mark.parametrize("fields", [{"audio_samples": 20001}, {"audio_rate_hz": 16000}])
def test_sound_that_does_not_fit_is_said(fields: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"k: expected \d+ audio samples at \d+ Hz .* found 20000 at 11025 Hz"):
        decode_sample(sample_of(coded(picture(64, 64))), spec(**fields))


@pytest.mark.parametrize("rate_hz", [None, 1.0])
@pytest.mark.parametrize("audio_s", [2.0, 3.5, 5.944, 6.0])
@pytest.mark.parametrize(
    ("there", "wanted"), [(6, 1), (6, 2), (6, 3), (6, 6), (10, 1), (10, 2), (10, 5), (5, 1), (7, 3)]
)
def test_segments_are_shown_at_their_moments_beside_the_sound(
    there: int, wanted: int, audio_s: float, rate_hz: float | None
) -> None:
    """Segments of a second whose images show their number in grey; a click in the middle of each, the k-th k times."""
    if there < 6 and audio_s > there:
        return
    images = [coded(Image.new("RGB", (64, 64), (20 * place, 0, 0)), quality=95) for place in range(there)]
    sound = np.zeros((1, there * RATE), np.int16)
    sound[0, RATE // 2 :: RATE] = 1000 * np.arange(1, there + 1)
    sample = sample_of(*images, audio=encode_flac(sound, RATE))
    decoded = decode_sample(sample, spec(frames=wanted, frame_rate_hz=rate_hz, audio_samples=round(audio_s * RATE)))
    shown = [round(float(frame[0].mean()) / 20) for frame in decoded.arrays["frames"]]
    span_s = wanted / rate_hz if rate_hz else audio_s
    moments = [audio_s / 2 + ((frame + 0.5) / wanted - 0.5) * span_s for frame in range(wanted)]
    # exact where the frames' distance is a whole number of segments, else the segment that is on screen then
    whole = abs(span_s / wanted - round(span_s / wanted)) < 0.05 or wanted == 1
    for number, moment in zip(shown, moments, strict=True):
        heard = [place / RATE for place in np.flatnonzero(decoded.arrays["sound"][0] == 1000 * (number + 1))]
        middle = decoded_middle(number, decoded)
        assert heard == pytest.approx([middle] if 0 <= middle < audio_s - 1 / RATE else heard, abs=2 / RATE)
        assert abs(middle - moment) <= (0.05 if whole else 0.501)
    assert decoded.frame_times_s == [2.0 + number for number in shown]


def decoded_middle(number: int, decoded: DecodedSample) -> float:
    """When (s behind the beginning of the decoded sound) the middle of a segment of a second lies."""
    return number + 0.5 - (decoded.audio_start_s - 1.0)


def test_moments_beyond_the_segments_are_said() -> None:
    images = [coded(picture(64, 64))] * 3
    with pytest.raises(ValueError, match=r"k: expected 6\.00 s of segments or more, found 1\.81 s"):
        decode_sample(sample_of(*images), spec(frames=3, frame_rate_hz=0.5))


def test_more_frames_than_there_are_is_said() -> None:
    with pytest.raises(ValueError, match="k: expected 3 images as the features ask for, found 1"):
        decode_sample(sample_of(coded(picture(64, 64))), spec(frames=3))
    with pytest.raises(ValueError, match="k: no image in it"):
        decode_sample(sample_of(), spec())


def sound_file(kind: str, codec: str, rate_hz: int = 44100, channels: int = 1, seconds: float = 3.0) -> bytes:
    """A tone of 440 Hz with a click every half second, as any kind of file."""
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    audio = 0.05 * np.sin(2 * np.pi * 440 * time)
    for click in np.arange(0.5, seconds, 0.5):
        place = round(click * rate_hz)
        audio[place - 40 : place + 40] += 0.8 * np.hanning(80)
    buffer = io.BytesIO()
    layout = "mono" if channels == 1 else "stereo"
    with av.open(buffer, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=rate_hz, layout=layout)
        frame = av.AudioFrame.from_ndarray(np.tile(audio.astype(np.float32), (channels, 1)), "fltp", layout)
        frame.sample_rate, frame.pts, frame.time_base = rate_hz, 0, Fraction(1, rate_hz)
        resampler = av.AudioResampler(stream.format.name, layout, rate_hz, frame_size=stream.frame_size or 0)
        for item in (frame, None):
            for piece in resampler.resample(item):
                container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def clicks_in(decoded: DecodedSample) -> list[float]:
    """Times (s) of the clicks in the sound."""
    power = np.abs(decoded.arrays["sound"].astype(np.float64)).max(axis=0)
    loud = np.flatnonzero(power > power.max() / 2)
    groups = np.split(loud, np.flatnonzero(np.diff(loud) > 200) + 1)
    return [float(group.mean()) / RATE + decoded.audio_start_s for group in groups]


@pytest.mark.parametrize(
    ("kind", "codec", "rate_hz"),
    [
        ("wav", "pcm_s16le", 44100),
        ("wav", "pcm_f32le", 22050),
        ("flac", "flac", 44100),
        ("mp3", "libmp3lame", 44100),
        ("ogg", "libopus", 48000),
        ("mp4", "aac", 44100),
        ("wav", "pcm_s16le", RATE),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_sound_of_others_is_resampled_and_stays_in_its_place(
    kind: str, codec: str, rate_hz: int, channels: int
) -> None:
    content = sound_file(kind, codec, rate_hz, channels)
    sample = sample_of(coded(picture(64, 64)), audio=content, foreign=True, kind="m4a" if kind == "mp4" else kind)
    asked = spec(audio_samples=round(1.8 * RATE))
    decoded = decode_sample(sample, asked)
    assert decoded.arrays["sound"].shape == (1, round(1.8 * RATE))
    found = [time - sample.metadata.audio_start_s for time in clicks_in(decoded)]
    assert found == pytest.approx([1.0, 1.5, 2.0], abs=5e-3)


def test_sound_at_its_own_rate_is_not_touched() -> None:
    audio = music(channels=2)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="wav") as container:
        stream = container.add_stream("pcm_s16le", rate=RATE, layout="stereo")
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(audio.T).reshape(1, -1), "s16", "stereo")
        frame.sample_rate = RATE
        container.mux(stream.encode(frame))
    sound = decode_sound(buffer.getvalue(), "wav", 2)
    assert np.array_equal(cut_at_rate(sound, 500 / RATE, 4000, RATE), audio[:, 500:4500])


def test_damaged_sound_of_others_is_refused() -> None:
    for content in (b"", b"no sound", coded(picture(64, 64), "PNG")):
        with pytest.raises(ValueError, match="k: its sound can't be decoded: expected wav"):
            decode_sample(sample_of(coded(picture(64, 64)), audio=content, foreign=True, kind="wav"), spec())


def test_decoding_needs_no_torch() -> None:
    code = "import pipeline.stream.decode, pipeline.shards.foreign.sample, sys; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == "False\n"
