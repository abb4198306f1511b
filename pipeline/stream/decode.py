"""From a sample's bytes to arrays: pictures to squares of pixels, sound to int16 samples. Free of torch, so that the
processes that do it start quickly and stay small."""

import math
from dataclasses import dataclass

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import VideoReformatter

from pipeline.features.frame_times import FrameTimes
from pipeline.features.settings import Geometry
from pipeline.samples.metadata import Box, SampleMetadata
from pipeline.shards.members import Sample
from pipeline.sound.flac import decode_flac, read_header
from pipeline.sound.sound import Sound, cut_at_rate, decode_sound
from pipeline.stream.squares import Cut, Pixels, square_of_frame, square_of_image
from pipeline.video.clip_frames import ClipFrames
from pipeline.video.damage import errors_are_damage

CENTRE = 0.5


@dataclass(frozen=True)
class DecodeSpec:
    """What a sample is decoded to.

    Attributes:
        frames: T. Layout `frame` has one; `segments` and `clip` give what is on screen at T moments.
        frame_size: K, the side of the square in pixels.
        frame_rate_hz: of layouts `clip` and `segments`: how many frames a second, around the middle of the sound; None
            spreads them over it.
        audio_rate_hz, audio_samples: the sound's rate and length S.
        channels: C, 1 or 2.
        geometry: how the upright image becomes the square.
    """

    frames: int
    frame_size: int
    frame_rate_hz: float | None
    audio_rate_hz: int
    audio_samples: int
    channels: int
    geometry: Geometry = "centre"

    @property
    def audio_s(self) -> float:
        """Length of the sound in seconds."""
        return self.audio_samples / self.audio_rate_hz


@dataclass(frozen=True)
class DecodedSample:
    """A sample as arrays.

    Attributes:
        frames: uint8 [T, 3, K, K], a square of the upright image, scaled to K pixels.
        audio: int16 [C, S].
        square: box of that square in the upright image, `[x1, y1, x2, y2]` in 0–1; beyond it where bars are.
        frame_times_s: when each frame is shown, seconds from the video's zero. Of a clip its time in the clip, behind
            the time at which the clip begins: frames and sound have the same clock.
        audio_start_s: time of the first audio sample, seconds from the video's zero.
    """

    key: str
    metadata: SampleMetadata
    frames: Pixels
    audio: npt.NDArray[np.int16]
    square: Box
    frame_times_s: list[float]
    audio_start_s: float


@errors_are_damage()
def decode_sample(sample: Sample, spec: DecodeSpec, place: float = CENTRE, moment: float = CENTRE) -> DecodedSample:
    """Decode a sample.

    Args:
        place: of geometry `centre`: where the square lies along the longer side of the image, 0–1.
        moment: of layout `clip`: where the sound lies in what the clip has more than is asked for, 0–1. Of other
            layouts always the middle is taken, where the frames are; of `segments` so that they lie at their moments,
            with up to half a segment of silence at the end where the sound doesn't reach as far.

    Raises:
        ValueError: an image, clip or sound that can't be decoded, or less of it than asked for, or another rate.
    """
    if sample.clip is not None:
        return _decode_clip(sample, sample.clip, spec, place, moment)
    if not sample.images:
        raise ValueError(f"{sample.key}: no image in it")
    sound = _decode_sound(sample, spec)
    chosen, middle_s = _segments_of(sample, spec, sound.length / spec.audio_rate_hz)
    frames: Pixels = np.empty((spec.frames, 3, spec.frame_size, spec.frame_size), np.uint8)
    square: Box = (0.0, 0.0, 1.0, 1.0)
    for target, index in zip(frames, chosen, strict=True):
        try:
            square = square_of_image(sample.images[index], Cut(spec.geometry, place), target)
        except ValueError as error:
            raise ValueError(f"{sample.key}: an image in it can't be decoded: {error}") from error
    audio, audio_start_s = sound.cut_around(sound.begin_s + middle_s)
    times = sample.metadata.frame_times_s
    taken = [times[index] for index in chosen] if len(times) == len(sample.images) else []
    began_s = sample.metadata.audio_start_s - sound.begin_s
    return DecodedSample(sample.key, sample.metadata, frames, audio, square, taken, began_s + audio_start_s)


def canvas_size(frame_size: int, resize_minimum: float) -> int:
    """Side of the square that augmentation crops from, so that its smallest crop is not enlarged."""
    return math.ceil(frame_size / resize_minimum)


def _segments_of(sample: Sample, spec: DecodeSpec, length_s: float) -> tuple[list[int], float]:
    """Which images are shown, and the middle (s from where the sound begins) of the sound that belongs to them."""
    there = len(sample.images)
    if spec.frames > there:
        raise ValueError(f"{sample.key}: expected {spec.frames} images as the features ask for, found {there}")
    if there == 1:
        return [0], length_s / 2
    try:
        return FrameTimes(spec.frames, spec.frame_rate_hz, spec.audio_s).in_segments(there, length_s)
    except ValueError as error:
        raise ValueError(f"{sample.key}: {error}") from error


def _decode_clip(sample: Sample, content: bytes, spec: DecodeSpec, place: float, moment: float) -> DecodedSample:
    key = sample.key
    try:
        clip = ClipFrames(content, sample.clip_kind)
    except ValueError as error:
        raise ValueError(f"{key}: its clip can't be decoded: {error}") from error
    sound = _decode_sound(sample, spec)
    begin, end = max(clip.times_s[0], sound.begin_s), min(clip.end_s, sound.end_s)
    shown = FrameTimes(spec.frames, spec.frame_rate_hz, spec.audio_s)
    span_s = max(spec.audio_s, shown.span_s)
    spare_s = end - begin - span_s
    if spare_s < -(clip.end_s - clip.times_s[0]) / len(clip):  # a frame less may be rounding
        raise ValueError(
            f"{key}: expected a clip of {span_s:.2f} s or more as the features ask for, found {end - begin:.2f} s"
        )
    start_s = begin + moment * max(0.0, spare_s)
    audio, audio_start_s = sound.cut(start_s + (span_s - spec.audio_s) / 2)
    middle_s = audio_start_s + spec.audio_s / 2
    indices = [clip.shown_at(middle_s + offset) for offset in shown.offsets_s]
    frames: Pixels = np.empty((spec.frames, 3, spec.frame_size, spec.frame_size), np.uint8)
    square: Box = (0.0, 0.0, 1.0, 1.0)
    before: av.VideoFrame | None = None
    cut = Cut(spec.geometry, place)
    scaler = VideoReformatter()
    try:
        for number, frame in enumerate(clip.decode(indices)):
            if frame is before:
                frames[number] = frames[number - 1]
            else:
                square = square_of_frame(frame, cut, frames[number], clip.display_of(frame), scaler)
            before = frame
    except ValueError as error:
        raise ValueError(f"{key}: its clip can't be decoded: {error}") from error
    began_s = sample.metadata.audio_start_s
    taken = [began_s + clip.times_s[index] for index in indices]
    return DecodedSample(key, sample.metadata, frames, audio, square, taken, began_s + audio_start_s)


@dataclass(frozen=True)
class _Track:
    """The sound of a sample, at the rate asked for, or still at its own.

    Attributes:
        begin_s, end_s: where it lies, seconds from the file's zero.
        length: samples at the rate asked for.
    """

    spec: DecodeSpec
    key: str
    ready: npt.NDArray[np.int16] | None
    own: Sound | None
    begin_s: float
    end_s: float
    length: int

    def cut(self, start_s: float) -> tuple[npt.NDArray[np.int16], float]:
        """int16 [C, S] from the sample nearest to `start_s`, or from the last that leaves enough, and its time."""
        rate_hz, samples = self.spec.audio_rate_hz, self.spec.audio_samples
        first = max(0, min(round((start_s - self.begin_s) * rate_hz), self.length - samples))
        begin_s = self.begin_s + first / rate_hz
        if self.ready is not None:
            return _with_channels(self.ready[:, first : first + samples], self.spec.channels), begin_s
        assert self.own is not None
        return cut_at_rate(self.own, begin_s, samples, rate_hz), begin_s

    def cut_around(self, middle_s: float) -> tuple[npt.NDArray[np.int16], float]:
        """int16 [C, S] whose middle lies at `middle_s`, and its time; silence where there is no sound."""
        rate_hz, samples = self.spec.audio_rate_hz, self.spec.audio_samples
        first = math.floor((middle_s - self.begin_s) * rate_hz - samples / 2 + 1e-6)
        audio, begin_s = self.cut(self.begin_s + first / rate_hz)
        missing = first - round((begin_s - self.begin_s) * rate_hz)
        if missing > 0:
            audio = np.pad(audio[:, missing:], ((0, 0), (0, missing)))
        elif missing < 0:
            audio = np.pad(audio[:, :missing], ((0, 0), (-missing, 0)))
        return audio, begin_s + missing / rate_hz


def _decode_sound(sample: Sample, spec: DecodeSpec) -> _Track:
    """The sound of a sample.

    Raises:
        ValueError: it can't be decoded, is too short, or has another rate, which only sound that others wrote may.
    """
    ready, own = None, None
    begin_s = 0.0
    try:
        header = read_header(sample.audio)
        if not sample.foreign or (header is not None and header[:3] == (spec.audio_rate_hz, spec.channels, 16)):
            ready, rate_hz = decode_flac(sample.audio)
            length = ready.shape[1]
        else:
            content, kind = sample.audio, sample.audio_kind
            if sample.clip is not None and not content:
                content, kind = sample.clip, sample.clip_kind
            own = decode_sound(content, kind, spec.channels)
            rate_hz = spec.audio_rate_hz
            begin_s = own.start_s
            length = own.samples_at(rate_hz)
    except ValueError as error:
        raise ValueError(f"{sample.key}: its sound can't be decoded: {error}") from error
    if rate_hz != spec.audio_rate_hz or length < spec.audio_samples:
        raise ValueError(
            f"{sample.key}: expected {spec.audio_samples} audio samples at {spec.audio_rate_hz} Hz as the features ask "
            f"for, found {length} at {rate_hz} Hz"
        )
    return _Track(spec, sample.key, ready, own, begin_s, begin_s + length / rate_hz, length)


def _with_channels(audio: npt.NDArray[np.int16], channels: int) -> npt.NDArray[np.int16]:
    """[C, S] of another number of channels: their mean, or repeated."""
    if audio.shape[0] == channels:
        return audio
    if channels == 1:
        mean: npt.NDArray[np.int16] = (audio.sum(axis=0, keepdims=True, dtype=np.int32) // len(audio)).astype(np.int16)
        return mean
    return np.repeat(_with_channels(audio, 1), channels, axis=0)
