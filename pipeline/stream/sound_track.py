"""The sound of a sample, cut where its time says."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.shards.members import Sample
from pipeline.sound.flac import decode_flac, read_header
from pipeline.sound.sound import Sound, cut_at_rate, decode_sound

_ROUNDING = 1e-6  # of a sample

Samples = npt.NDArray[np.int16]


@dataclass(frozen=True)
class SoundFormat:
    """The sound that a field asks for.

    Attributes:
        rate_hz, samples: the sound's rate and length S.
        channels: C, 1 or 2.
        resampled: from whatever rate a sample has; else one of another rate is bad, unless others wrote it.
    """

    rate_hz: int
    samples: int
    channels: int
    resampled: bool = False

    @property
    def length_s(self) -> float:
        """Length of the sound in seconds."""
        return self.samples / self.rate_hz


@dataclass(frozen=True)
class SoundTrack:
    """The sound of a sample, at the rate asked for, or still at its own.

    Attributes:
        rate_hz, channels: that are asked for.
        begin_s: where it begins, seconds from the file's zero.
        length: samples at the rate asked for.
    """

    rate_hz: int
    channels: int
    begin_s: float
    length: int
    _ready: Samples | None
    _own: Sound | None

    @property
    def length_s(self) -> float:
        """Length in seconds."""
        return self.length / self.rate_hz

    @property
    def end_s(self) -> float:
        """Where it ends, seconds from the file's zero."""
        return self.begin_s + self.length / self.rate_hz

    def begin_near(self, start_s: float, samples: int) -> float:
        """Time of the sample nearest to `start_s`, or of the last that leaves `samples`."""
        first = round((start_s - self.begin_s) * self.rate_hz)
        return self.begin_s + max(0, min(first, self.length - samples)) / self.rate_hz

    def begin_around(self, middle_s: float, samples: int) -> float:
        """Time of the first of `samples` whose middle lies at `middle_s`, as `around` takes them."""
        return self.begin_s + self._first(middle_s, samples) / self.rate_hz

    def around(self, middle_s: float, samples: int) -> Samples:
        """int16 [C, samples] whose middle lies at `middle_s`; silence where there is no sound."""
        first = self._first(middle_s, samples)
        there = max(0, min(first, self.length - samples))
        found, late = self._from(there, samples), first - there
        if late:
            shifted = np.zeros_like(found)
            if late > 0:
                shifted[:, : max(0, samples - late)] = found[:, late:]
            else:
                shifted[:, min(samples, -late) :] = found[:, : max(0, samples + late)]
            found = shifted
        return found

    def _first(self, middle_s: float, samples: int) -> int:
        return math.floor((middle_s - self.begin_s) * self.rate_hz - samples / 2 + _ROUNDING)

    def _from(self, first: int, samples: int) -> Samples:
        if self._ready is not None:
            return _with_channels(self._ready[:, first : first + samples], self.channels)
        assert self._own is not None
        return cut_at_rate(self._own, self.begin_s + first / self.rate_hz, samples, self.rate_hz)


def open_track(sample: Sample, asked: SoundFormat) -> SoundTrack:
    """The sound of a sample.

    Raises:
        ValueError: it can't be decoded, is too short, or has another rate, which only sound that others wrote may, or
            that is asked for at any rate.
    """
    if not sample.audio and not sample.foreign:
        raise ValueError("no .flac in it")
    ready, own = None, None
    begin_s = 0.0
    try:
        header = read_header(sample.audio)
        if not (sample.foreign or asked.resampled) or (
            header is not None and header[:3] == (asked.rate_hz, asked.channels, 16)
        ):
            ready, rate_hz = decode_flac(sample.audio)
            length = ready.shape[1]
        else:
            content, kind = sample.audio, sample.audio_kind
            if sample.clip is not None and not content:
                content, kind = sample.clip, sample.clip_kind
            own = decode_sound(content, kind, asked.channels)
            rate_hz = asked.rate_hz
            begin_s = own.start_s
            length = own.samples_at(rate_hz)
    except ValueError as error:
        raise ValueError(f"its sound can't be decoded: {error}") from error
    if rate_hz != asked.rate_hz or length < asked.samples:
        raise ValueError(
            f"expected {asked.samples} audio samples at {asked.rate_hz} Hz as the features ask for, found {length} at "
            f"{rate_hz} Hz"
        )
    return SoundTrack(asked.rate_hz, asked.channels, begin_s, length, ready, own)


def _with_channels(audio: Samples, channels: int) -> Samples:
    """[C, S] of another number of channels: their mean, or repeated."""
    if audio.shape[0] == channels:
        return audio
    if channels == 1:
        mean: Samples = (audio.sum(axis=0, keepdims=True, dtype=np.int32) // len(audio)).astype(np.int16)
        return mean
    return np.repeat(_with_channels(audio, 1), channels, axis=0)
