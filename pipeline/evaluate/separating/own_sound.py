"""The whole sound of a video at its own rate and in its own channels, piece by piece."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np

from pipeline.errors import MediaError
from pipeline.reasons import Reason
from pipeline.sound.channels import LAYOUTS, Float, mixing_weights, own_channels
from pipeline.sound.sound_clock import SoundClock
from pipeline.sound.sound_frames import JITTER_S
from pipeline.video.track_extent import packets_of, tick_of
from pipeline.video.video_file import VideoFile, open_video

_MOST_BEHIND_S = 60
"""Sound that lies farther (s) behind the end of the file has a wrong time; silence up to there could fill a disk."""


@dataclass(frozen=True)
class OwnSound:
    """What a video's sound is like.

    Attributes:
        source: path or URL of the video.
        layout: FFmpeg's name of its channels: `mono`, `stereo`, `5.1(side)`.
        samples: of each channel, from the video's zero to the end of the sound.
        picture_s: until when there are pictures, s from the video's zero.
    """

    source: str
    rate_hz: int
    layout: str
    samples: int
    picture_s: Fraction

    @property
    def channels(self) -> int:
        """How many there are."""
        return int(av.AudioLayout(self.layout).nb_channels)

    @property
    def length_s(self) -> Fraction:
        """From the video's zero to the end of the sound."""
        return Fraction(self.samples, self.rate_hz)

    @classmethod
    def of(cls, source: str) -> "OwnSound":
        """Go through it once.

        Raises:
            MediaError: the source is no video with sound, or nothing of its sound can be decoded.
        """
        with open_video(source) as video:
            frames = _decoded(video)
            _, first = next(frames, (None, None))
            if first is None:
                raise MediaError(Reason.DAMAGED, "nothing of its sound could be decoded")
            rate_hz, layout = first.sample_rate, first.layout.name
        with open_video(source) as video:
            samples = sum(piece.shape[1] for piece in _pieces(video, rate_hz, layout))
            return cls(source, rate_hz, layout, samples, video.duration_s)

    def pieces(self) -> Iterator[Float]:
        """float32 [C, n] in −1..1, `samples` in all, from the video's zero on: where there is no sound, before it
        begins or in a hole of it, they are silent. A track that changes its rate or its channels goes on with those
        that it began with."""
        with open_video(self.source) as video:
            yield from _pieces(video, self.rate_hz, self.layout)

    def as_heard(self, rate_hz: int, channels: int) -> Iterator[Float]:
        """The same as a model hears it: float32 [channels, n] at another rate."""
        weights = mixing_weights(self.layout, channels)
        resampler = av.AudioResampler("fltp", LAYOUTS[channels], rate_hz)
        for piece in self.pieces():
            mixed = np.ascontiguousarray(np.einsum("oc,cn->on", weights, piece))
            if self.rate_hz == rate_hz:
                yield mixed
                continue
            frame = av.AudioFrame.from_ndarray(mixed, format="fltp", layout=LAYOUTS[channels])
            frame.sample_rate = self.rate_hz
            yield from (resampled.to_ndarray() for resampled in resampler.resample(frame))
        if self.rate_hz != rate_hz:
            yield from (resampled.to_ndarray() for resampled in resampler.resample(None))


def _pieces(video: VideoFile, rate_hz: int, layout: str) -> Iterator[Float]:
    """See `OwnSound.pieces`; each about a second long."""
    waiting, format_name = av.AudioFifo(), ""
    end = 0  # of what was given or waits, in samples from the video's zero

    def waited() -> Iterator[Float]:
        if waiting.samples:
            yield own_channels(waiting.read())

    for time_s, frame in _alike(_decoded(video), rate_hz, layout):
        start = round(time_s * rate_hz)
        if abs(start - end) <= JITTER_S * rate_hz:
            start = end
        if start + frame.samples <= end:
            continue  # over what came before, or before the video's zero
        if start != end or frame.format.name != format_name or waiting.samples > rate_hz:
            yield from waited()  # many frames at once cost what one does
            waiting, format_name = av.AudioFifo(), frame.format.name
        frame.pts = None
        if start >= end:
            while end < start:
                silent = min(rate_hz, start - end)
                yield np.zeros((frame.layout.nb_channels, silent), np.float32)
                end += silent
            end += frame.samples
            waiting.write(frame)
        else:
            yield own_channels(frame)[:, end - start :]
            end = start + frame.samples
    yield from waited()


def _alike(
    frames: Iterator[tuple[Fraction, av.AudioFrame]], rate_hz: int, layout: str
) -> Iterator[tuple[Fraction, av.AudioFrame]]:
    """Frames of one rate and of the same channels, with their times; others are brought to them."""
    resampler: av.AudioResampler | None = None
    kind = (layout, rate_hz)
    for time_s, frame in frames:
        own = frame.sample_rate
        if (frame.layout.name, own) != kind:
            yield from _resampled(resampler, None)
            kind = (frame.layout.name, own)
            resampler = None if kind == (layout, rate_hz) else av.AudioResampler("flt", layout, rate_hz)
        if resampler is None:
            yield time_s, frame
        else:
            frame.pts, frame.time_base = round(time_s * own), Fraction(1, own)
            yield from _resampled(resampler, frame)
    yield from _resampled(resampler, None)


def _resampled(
    resampler: av.AudioResampler | None, frame: av.AudioFrame | None
) -> Iterator[tuple[Fraction, av.AudioFrame]]:
    for piece in [] if resampler is None else resampler.resample(frame):
        yield piece.pts * Fraction(piece.time_base), piece


def _decoded(video: VideoFile) -> Iterator[tuple[Fraction, av.AudioFrame]]:
    """Each frame of the sound that can be decoded with its time, s from the video's zero, in the order of the file."""
    audio, tick = video.audio, tick_of(video.audio)
    latest_s = video.duration_s + _MOST_BEHIND_S
    if video.container.duration:
        latest_s = max(latest_s, Fraction(video.container.duration, av.time_base) + _MOST_BEHIND_S)
    video.seek(int((video.zero - 1) // video.tick_s))  # opening may have looked for the end
    clock = SoundClock(tick, video.container.format.name)
    for packet in packets_of(video.container, audio):
        clock.expect(packet)
        try:
            frames = audio.codec_context.decode(packet if packet.size else None)
        except av.FFmpegError:
            continue  # a hole in a damaged file
        for frame in frames:
            if not frame.samples or (frame.pts is None and clock.end_s is None):
                continue  # of a time that nobody knows
            at, _ = clock.tick_of(frame)
            time_s = at * tick - video.zero
            if time_s > latest_s:
                raise MediaError(Reason.DAMAGED, f"it has sound at {float(time_s):.0f} s, long after its end")
            yield time_s, frame
