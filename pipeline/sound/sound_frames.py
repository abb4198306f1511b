"""Decoded frames of sound, each laid where its time says.

A track may change its channels and its rate in the middle. Channels are mixed frame by frame; each rate makes a part of
its own, and parts meet when they are resampled to one rate.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt

from pipeline.sound.channels import LAYOUTS, Float, mix
from pipeline.sound.sound_clock import SoundClock

FILTER_S = Fraction(1, 20)
"""The resampling filter looks this far (s) to both sides, and less."""
JITTER_S = Fraction(3, 1000)
"""Containers that count in milliseconds round times: a frame so near (s) to the end of the one before begins there."""
_MOST_WAITING = 1 << 18


@dataclass(frozen=True)
class SoundPart:
    """Sound of one sample rate.

    Attributes:
        start_s: time of the first sample on the container's clock (s).
        audio: float32 [C, N] in −1..1.
        heard: [N], False in holes, where no frame lies.
    """

    start_s: Fraction
    rate_hz: int
    audio: Float
    heard: npt.NDArray[np.bool_]

    @property
    def end_s(self) -> Fraction:
        """When the last sample ends."""
        return self.start_s + Fraction(self.audio.shape[1], self.rate_hz)

    def between(self, first_s: Fraction, last_s: Fraction) -> "SoundPart":
        """What of it lies there, and perhaps a sample more."""
        rate = self.rate_hz
        low = max(0, int((first_s - self.start_s) * rate))
        high = max(low, min(self.audio.shape[1], int((last_s - self.start_s) * rate) + 1))
        return SoundPart(self.start_s + Fraction(low, rate), rate, self.audio[:, low:high], self.heard[low:high])


@dataclass
class _FrameRun:
    """Frames that follow each other with one rate.

    Attributes:
        ticks: time of each frame; where it has none of its own, the end of the one before.
        timed: whether it has one of its own.
        pieces: their sound, one behind the other.
    """

    rate_hz: int
    ticks: list[int] = field(default_factory=list)
    timed: list[bool] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    pieces: list[Float] = field(default_factory=list)


class SoundFrames:
    """Takes the frames of a track in decoding order.

    Args:
        channels: what they are mixed to, 1 or 2.
        tick_s: length (s) of a tick of the track's clock.
        container_format: FFmpeg's name of the container's format.
    """

    def __init__(self, channels: int, tick_s: Fraction, container_format: str) -> None:
        self._channels, self._tick_s = channels, tick_s
        self._clock = SoundClock(tick_s, container_format)
        self._runs: list[_FrameRun] = []
        self._kind: tuple[str, str, int] | None = None
        self._waiting = av.AudioFifo()

    @property
    def first_tick(self) -> int | None:
        """Time of the first frame."""
        return self._runs[0].ticks[0] if self._runs else None

    @property
    def last_tick(self) -> int | None:
        """Time of the frame that came last."""
        return self._runs[-1].ticks[-1] if self._runs else None

    @property
    def end_s(self) -> Fraction | None:
        """When the frame that came last ends, on the container's clock."""
        return self._clock.end_s

    def expect(self, packet: av.Packet) -> None:
        """Told of each packet before its frames."""
        self._clock.expect(packet)

    def add(self, frame: av.AudioFrame) -> None:
        """The next frame; one without a time follows the one before, the first of them is at 0."""
        if not frame.samples:
            return
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        # many frames at once cost what one does; not all, which would fill the memory with surround sound
        if kind != self._kind or self._waiting.samples > _MOST_WAITING:
            self._mix()
            self._kind = kind
        if not self._runs or self._runs[-1].rate_hz != frame.sample_rate:
            self._runs.append(_FrameRun(frame.sample_rate))
        run = self._runs[-1]
        tick, timed = self._clock.tick_of(frame)
        run.ticks.append(tick)
        run.timed.append(timed)
        run.lengths.append(frame.samples)
        frame.pts = None  # the mixer would fill holes by itself
        self._waiting.write(frame)

    def parts(self, first_s: Fraction | None = None, last_s: Fraction | None = None) -> list[SoundPart]:
        """A part for each rate, in order; between two times (s on the container's clock) where they are given."""
        self._mix()
        placed = (self._place(run, first_s, last_s) for run in self._runs)
        return [part for part in placed if part is not None]

    def _mix(self) -> None:
        if self._waiting.samples:
            self._runs[-1].pieces.append(mix(self._waiting.read(), self._channels))
            self._waiting = av.AudioFifo()

    def _place(self, run: _FrameRun, first_s: Fraction | None, last_s: Fraction | None) -> SoundPart | None:
        """Each frame of a run where its time says."""
        kept = self._kept(run, first_s, last_s)
        if not kept:
            return None
        begin, sources = run.ticks[kept[0]], list(itertools.accumulate(run.lengths, initial=0))
        moves: list[tuple[int, int, int]] = []  # (place, source, samples), joined where both go on
        for index, place in zip(kept, self._places(run, kept), strict=True):
            samples = run.lengths[index]
            if moves and sum(moves[-1][::2]) == place and moves[-1][1] + moves[-1][2] == sources[index]:
                moves[-1] = (moves[-1][0], moves[-1][1], moves[-1][2] + samples)
            else:
                moves.append((place, sources[index], samples))
        length = max(place + samples for place, _, samples in moves)
        source = run.pieces[0] if len(run.pieces) == 1 else np.concatenate(run.pieces, axis=1)
        audio, heard = np.zeros((self._channels, length), np.float32), np.zeros(length, np.bool_)
        for place, at, samples in moves:
            skipped = max(0, -place)
            audio[:, place + skipped : place + samples] = source[:, at + skipped : at + samples]
            heard[place + skipped : place + samples] = True
        part = SoundPart(begin * self._tick_s, run.rate_hz, audio, heard)
        return part.between(part.start_s if first_s is None else first_s, part.end_s if last_s is None else last_s)

    def _kept(self, run: _FrameRun, first_s: Fraction | None, last_s: Fraction | None) -> list[int]:
        """Numbers of the frames that lie between two times."""
        if first_s is None or last_s is None:
            return list(range(len(run.ticks)))
        tick, last_tick = self._tick_s, math.ceil(last_s / self._tick_s)
        # in samples times ticks, whole numbers that any two times can be compared in
        first = math.floor(first_s * run.rate_hz * tick.denominator)
        scale = run.rate_hz * tick.numerator
        frames = enumerate(zip(run.ticks, run.lengths, strict=True))
        return [
            index for index, (at, length) in frames if at < last_tick and at * scale + length * tick.denominator > first
        ]

    def _places(self, run: _FrameRun, kept: Sequence[int]) -> Iterator[int]:
        """Where each of these frames begins, in samples behind the time of the first."""
        tick, begin = self._tick_s, run.ticks[kept[0]]
        scale = run.rate_hz * tick.numerator
        jitter = int(JITTER_S * run.rate_hz)

        def exact(index: int) -> int:
            return ((run.ticks[index] - begin) * scale * 2 + tick.denominator) // (2 * tick.denominator)

        expected = 0
        groups = [list(group) for _, group in itertools.groupby(kept, lambda index: run.ticks[index])]
        for group, following in itertools.zip_longest(groups, groups[1:]):
            lengths = [run.lengths[index] for index in group]
            at, behind = exact(group[0]), None if following is None else exact(following[0])
            if not run.timed[group[0]]:
                at = expected
            if len(group) > 1:
                start = _start_of_equals(at, lengths, expected if group[0] != kept[0] else None, behind, jitter)
                if start is None:  # no room for more than one of them
                    yield from [at] * len(group)
                    expected = at + lengths[-1]
                    continue
                at = start
            if abs(at - expected) <= jitter:
                at = expected
            yield from itertools.accumulate(lengths[:-1], initial=at)
            expected = at + sum(lengths)


def _start_of_equals(
    at: int, lengths: Sequence[int], before: int | None, behind: int | None, jitter: int
) -> int | None:
    """Where frames begin that all carry the time `at`, one behind the other: from there on or up to there, as there is
    room between what ends at `before` and begins at `behind`; None where there is none.

    Streams of DVDs carry several frames of sound in a packet and one time for all of them.
    """
    earliest, latest = at + lengths[-1] - sum(lengths), at
    fitting = []
    if behind is None or latest + sum(lengths) <= behind + jitter:
        fitting.append(latest)
    if before is not None and earliest >= before - jitter:
        fitting.append(earliest)

    def holes(start: int) -> int:
        left = 0 if before is None else abs(start - before)
        return left + (0 if behind is None else abs(behind - start - sum(lengths)))

    return min(fitting, key=holes, default=None)


def at_rate(parts: Sequence[SoundPart], rate_hz: int) -> SoundPart | None:
    """All parts as one of another rate, each where its time says; None where there is nothing."""
    moved = [_resample(part, rate_hz) for part in parts if part.audio.size]
    if len(moved) <= 1:
        return moved[0] if moved else None
    start = min(part.start_s for part in moved)
    length = max(round((part.end_s - start) * rate_hz) for part in moved)
    audio, heard = np.zeros((len(moved[0].audio), length), np.float32), np.zeros(length, np.bool_)
    for part in moved:
        place = round((part.start_s - start) * rate_hz)
        end = min(length, place + part.audio.shape[1])
        known = part.heard[: end - place]
        audio[:, place:end][:, known] = part.audio[:, : end - place][:, known]
        heard[place:end] |= known
    return SoundPart(start, rate_hz, audio, heard)


def as_int16(audio: Float) -> npt.NDArray[np.int16]:
    """Samples in −1..1 as int16."""
    whole: npt.NDArray[np.int16] = np.clip(np.rint(audio * 32768), -32768, 32767).astype(np.int16)
    return whole


def _resample(part: SoundPart, rate_hz: int) -> SoundPart:
    """At another rate; the first sample stays where it is."""
    own = part.rate_hz
    if own == rate_hz:
        return part
    layout = LAYOUTS[part.audio.shape[0]]
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part.audio), format="fltp", layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = own, 0, Fraction(1, own)
    resampler = av.AudioResampler(format="fltp", layout=layout, rate=rate_hz)
    pieces = [piece.to_ndarray() for item in (frame, None) for piece in resampler.resample(item)]
    audio = np.concatenate(pieces, axis=1)
    if part.heard.all():
        heard = np.ones(audio.shape[1], np.bool_)
    else:
        heard = part.heard[np.minimum(np.arange(audio.shape[1]) * own // rate_hz, len(part.heard) - 1)]
    return SoundPart(part.start_s, rate_hz, audio, heard)
