"""Sound of any kind as samples: what others put into their shards, and the sound of a video file."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt

from pipeline.sound.flac import check_length, read_header
from pipeline.sound.sound_frames import FILTER_S, SoundFrames, SoundPart, as_int16, at_rate
from pipeline.video.clip_frames import open_media, zero_of

_MOST_BACK_S = 0.2  # sound over other sound: the file's clock starts again
_MOST_MISSING_S = 10  # longer holes are wrong times; silence in their place could fill the memory


@dataclass(frozen=True)
class Sound:
    """Decoded sound.

    Attributes:
        parts: one for each rate that the track has, in order; one at least.
        zero_s: the file's zero, on the clock of the parts.
    """

    parts: Sequence[SoundPart]
    zero_s: Fraction

    @property
    def start_s(self) -> float:
        """Time of the first sample, seconds from the file's zero."""
        return float(min(part.start_s for part in self.parts) - self.zero_s)

    def samples_at(self, rate_hz: int) -> int:
        """How many samples there are at another rate."""
        return int((max(part.end_s for part in self.parts) - min(part.start_s for part in self.parts)) * rate_hz)


def sound_in(container: "av.container.InputContainer", kind: str) -> "av.audio.stream.AudioStream":
    """The first sound of a file.

    Raises:
        ValueError: none, or of a kind that is not known.
    """
    sounds = container.streams.audio
    if not sounds or sounds[0].codec_context is None or not sounds[0].codec_context.sample_rate:
        raise ValueError(f"expected {kind} with sound, found none in it that can be decoded")
    return sounds[0]


def measure_sound(content: bytes, kind: str) -> tuple[int, int]:
    """Rate (Hz) and samples of the sound of a file in memory, without decoding it.

    Only FLAC's header is believed, where it knows; else the packets say how long it is: headers of what came through a
    pipe know nothing, and those of MP3 guess.

    Raises:
        ValueError: no sound in it, or it can't be read.
    """
    header = read_header(content)
    if header is not None and header.rate_hz and header.samples:
        return header.rate_hz, header.samples
    container = open_media(content, kind)
    stream = sound_in(container, kind)
    rate_hz = int(stream.codec_context.sample_rate)
    begin, end = stream.start_time, 0
    try:
        for packet in container.demux(stream):
            if packet.size:
                start = end if packet.pts is None else packet.pts
                begin = start if begin is None else begin
                end = max(end, start + (packet.duration or 0))
    except (av.FFmpegError, IndexError) as error:  # IndexError: a track that appears in the middle of a damaged file
        raise ValueError(f"expected {kind} with sound: {error}") from error
    if end <= (begin or 0):
        raise ValueError(f"expected {kind} with sound, found no samples in it")
    return rate_hz, round((end - (begin or 0)) * stream.time_base * rate_hz)


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
    rate_hz, width = stream.codec_context.sample_rate, stream.codec_context.channels
    if stream.duration:
        check_length(round(stream.duration * stream.time_base * rate_hz), width)
    stream.codec_context.thread_count = 1
    stream.codec_context.skip_frame = "DEFAULT"
    tick_s = Fraction(stream.time_base or Fraction(1, stream.codec_context.sample_rate))
    frames = SoundFrames(channels, tick_s, container.format.name)
    try:
        length = 0
        for frame in _frames_of(container, stream, frames):
            length += frame.samples
            check_length(length, frame.layout.nb_channels)
            if frame.is_corrupt:
                raise ValueError(f"expected whole {kind}, found damaged sound at {frame.time} s")
            expected_s = frames.end_s
            if frame.pts is not None and expected_s is not None:
                missing_s = frame.pts * tick_s - expected_s
                if not -_MOST_BACK_S <= missing_s <= _MOST_MISSING_S:
                    raise ValueError(
                        f"expected whole {kind}, found sound {float(missing_s):.1f} s from where it belongs"
                    )
            frames.add(frame)
    except (av.FFmpegError, IndexError) as error:  # IndexError: a track that appears in the middle of a damaged file
        raise ValueError(f"expected {kind} with sound: {error}") from error
    if frames.first_tick is not None and frames.end_s is not None:  # holes take as much as sound
        check_length(int((frames.end_s - frames.first_tick * tick_s) * rate_hz), channels)
    parts = frames.parts()
    if not parts:
        raise ValueError(f"expected {kind} with sound, found no samples in it")
    return Sound(parts, zero_of(container))


def _frames_of(
    container: "av.container.InputContainer", stream: "av.audio.stream.AudioStream", frames: SoundFrames
) -> Iterator[av.AudioFrame]:
    for packet in container.demux(stream):
        frames.expect(packet)
        yield from packet.decode()


def cut_at_rate(sound: Sound, start_s: float, samples: int, rate_hz: int) -> npt.NDArray[np.int16]:
    """`samples` from `start_s` (s from the file's zero) at another rate, int16 [C, samples].

    The first of them lies within half a sample of `start_s`. Where there is no sound there is silence, and sound of
    several rates is joined where its times say.
    """
    start = Fraction(start_s) + sound.zero_s
    first_s, last_s = start - FILTER_S, start + Fraction(samples, rate_hz) + FILTER_S
    channels = len(sound.parts[0].audio)
    cut = np.zeros((channels, samples), np.int16)
    found = at_rate([part.between(first_s, last_s) for part in sound.parts], rate_hz)
    if found is None:
        return cut
    offset = round((start - found.start_s) * rate_hz)
    whole = as_int16(found.audio[:, max(0, offset) : max(0, offset + samples)])
    place = min(samples, max(0, -offset))
    whole = whole[:, : samples - place]
    cut[:, place : place + whole.shape[1]] = whole
    return cut
