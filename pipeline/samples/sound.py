"""Sound of any kind as samples: what others put into their shards, and the sound of a video file."""

from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt

from pipeline.samples.clip_frames import open_media, zero_of

_LAYOUTS = {1: "mono", 2: "stereo"}
_JITTER_S = 3e-3  # containers that count in milliseconds round each frame's time
_FILTER_S = 0.05  # the resampling filter looks this far to both sides, and more
_MOST_MISSING_S = 10  # longer holes are wrong times; silence in their place could fill the memory


@dataclass(frozen=True)
class Sound:
    """Decoded sound.

    Attributes:
        audio: float32 [C, S] in −1..1, at its own rate.
        rate_hz: that rate.
        start_s: time of the first sample, seconds from the file's zero.
    """

    audio: npt.NDArray[np.float32]
    rate_hz: int
    start_s: float

    @property
    def end_s(self) -> float:
        """When the last sample ends, seconds from the file's zero."""
        return float(self.start_s + self.audio.shape[1] / self.rate_hz)


def sound_in(container: "av.container.InputContainer", kind: str) -> "av.audio.stream.AudioStream":
    """The first sound of a file.

    Raises:
        ValueError: none, or of a kind that is not known.
    """
    sounds = container.streams.audio
    if not sounds or sounds[0].codec_context is None or not sounds[0].codec_context.sample_rate:
        raise ValueError(f"expected {kind} with sound, found none in it that can be decoded")
    return sounds[0]


def decode_sound(content: bytes, kind: str, channels: int) -> Sound:
    """The whole sound of a file in memory, each part of it where its time says.

    Args:
        kind: what the file's name ends with.
        channels: 1 or 2; others are mixed to so many.

    Raises:
        ValueError: no sound in it, or it is damaged.
    """
    container = open_media(content, kind)
    stream = sound_in(container, kind)
    stream.codec_context.thread_count = 1
    stream.codec_context.skip_frame = "DEFAULT"
    rate_hz = stream.codec_context.sample_rate
    mixer = av.AudioResampler("fltp", _LAYOUTS[channels], rate_hz)
    first: float | None = None
    pieces: list[npt.NDArray[np.float32]] = []
    length = 0
    try:
        for frame in container.decode(stream):
            if frame.is_corrupt or frame.sample_rate != rate_hz:
                raise ValueError(f"expected whole {kind}, found damaged sound at {frame.time} s")
            time = frame.time
            if first is None:
                first = time or 0.0
            missing = 0.0 if time is None else time - first - length / rate_hz
            if abs(missing) > _MOST_MISSING_S:
                raise ValueError(f"expected whole {kind}, found sound {missing:.0f} s from where it belongs")
            frame.pts = None  # else the mixer would fill holes by itself
            mixed = mixer.resample(frame)
            if missing > _JITTER_S:
                pieces.append(np.zeros((channels, round(missing * rate_hz)), np.float32))
                length += pieces[-1].shape[1]
            pieces += [piece.to_ndarray() for piece in mixed]
            length += sum(piece.samples for piece in mixed)
    except (av.FFmpegError, IndexError) as error:  # IndexError: a track that appears in the middle of a damaged file
        raise ValueError(f"expected {kind} with sound: {error}") from error
    if first is None or not length:
        raise ValueError(f"expected {kind} with sound, found no samples in it")
    return Sound(np.concatenate(pieces, axis=1), rate_hz, first - float(zero_of(container)))


def cut_at_rate(sound: Sound, start_s: float, samples: int, rate_hz: int) -> npt.NDArray[np.int16]:
    """`samples` from `start_s` (s from the file's zero) at another rate, int16 [C, samples].

    The first of them lies within half a sample of `start_s`, which must leave enough; one that rounding takes away at
    an end is silence.
    """
    own = sound.rate_hz
    first = max(0, int((start_s - sound.start_s - _FILTER_S) * own))
    last = int((start_s - sound.start_s + samples / rate_hz + _FILTER_S) * own) + 1
    audio = _resample(sound.audio[:, first:last], own, rate_hz)
    offset = max(0, round((start_s - sound.start_s - first / own) * rate_hz))
    found = audio[:, offset : offset + samples]
    whole = np.pad(found, ((0, 0), (0, samples - found.shape[1])))
    cut: npt.NDArray[np.int16] = np.clip(np.rint(whole * 32768), -32768, 32767).astype(np.int16)
    return cut


def _resample(audio: npt.NDArray[np.float32], own_hz: int, rate_hz: int) -> npt.NDArray[np.float32]:
    if own_hz == rate_hz:
        return audio
    layout = _LAYOUTS[audio.shape[0]]
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(audio), format="fltp", layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = own_hz, 0, Fraction(1, own_hz)
    resampler = av.AudioResampler("fltp", layout, rate_hz)
    return np.concatenate([piece.to_ndarray() for item in (frame, None) for piece in resampler.resample(item)], axis=1)
