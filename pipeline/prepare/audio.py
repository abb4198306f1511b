"""Windows of audio around given times, resampled, each placed exactly on the video's clock."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt

from pipeline.errors import MediaError
from pipeline.prepare.reasons import Reason
from pipeline.prepare.settings import PrepareSettings
from pipeline.prepare.video_file import VideoFile, packets_of, tick_of

_PREROLL_S = Fraction(1, 2)  # decoders need some audio before the first right sample: Opus 80 ms, MP3 its bit reservoir
_FILTER_S = Fraction(1, 20)  # the resampling filter looks this far to both sides, and more
_JITTER_S = Fraction(3, 1000)  # containers that count in milliseconds round each frame's time
_GAP_S = Fraction(1, 10)  # a window with a longer hole in it is damaged
_ROUNDING = 2  # samples by which a track may miss a whole window and still count as long enough
_MOST_TOGETHER_S = 180
_MOST_WAITING = 1 << 18
_LAYOUTS = {1: "mono", 2: "stereo"}

Float = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Window:
    """A window of audio.

    Attributes:
        start_s: time of its first sample, seconds from the video's zero.
        audio: int16 [C, S].
    """

    start_s: Fraction
    audio: npt.NDArray[np.int16]


@dataclass
class _Stretch:
    """Decoded audio [C, N] at the track's own rate; sample 0 is at `start_s` on the container's clock."""

    start_s: Fraction
    rate_hz: int
    audio: Float
    heard: npt.NDArray[np.bool_]


def read_windows(video: VideoFile, centres_s: Sequence[Fraction], settings: PrepareSettings) -> list[Window | None]:
    """A window of `settings.audio_samples` around each of `centres_s` (s from the video's zero, in order).

    A window that would reach over an end of the audio track is shifted inside. Windows that overlap or lie close are
    decoded and resampled together, so each part of the track is decoded once. None stands for a window with a hole, or
    one that would have to lie beside its centre because the track ends before it.

    Raises:
        MediaError: `too_short` where the track is shorter than a window, `damaged` where it changes its rate.
    """
    length = Fraction(settings.audio_samples, settings.audio_rate_hz)
    begin, end = _extent(video)
    windows: list[Window | None] = []
    for centres in _groups([centre + video.zero for centre in centres_s], length):
        _check_length(end - begin, settings)
        starts = [_inside(centre - length / 2, begin, end - length) for centre in centres]
        stretch = _decode(video, starts[0] - _FILTER_S, starts[-1] + length + _FILTER_S, settings.channels)
        heard_end = stretch.start_s + Fraction(stretch.audio.shape[1], stretch.rate_hz)
        if stretch.audio.size and heard_end < starts[-1] + length - Fraction(1, stretch.rate_hz):
            # the track ends before its header says so: these windows move once more
            end = heard_end
            _check_length(end - begin, settings)
            starts = [_inside(start, begin, end - length) for start in starts]
            stretch = _decode(video, starts[0] - _FILTER_S, end, settings.channels)
        windows += _cut(video, stretch, list(zip(centres, starts, strict=True)), settings)
    return windows


def read_sections(
    video: VideoFile,
    starts_s: Sequence[Fraction],
    samples: int,
    settings: PrepareSettings,
    most_missing_s: Fraction,
) -> list[Window | Reason]:
    """`samples` of audio from each of `starts_s` (s from the video's zero, in order), exactly there.

    Where the track begins late or ends early, silence fills up to `most_missing_s` of a section. In a section's place
    stands `too_short` where more is missing, `damaged` where there is a hole in it.

    Raises:
        MediaError: `damaged` where the track changes its rate.
    """
    sections: list[Window | Reason] = []
    length = Fraction(samples, settings.audio_rate_hz)
    for starts in _groups([start + video.zero for start in starts_s], length):
        stretch = _decode(video, starts[0] - _FILTER_S, starts[-1] + length + _FILTER_S, settings.channels)
        audio = _resample(stretch, settings)
        sections += [_section(video, stretch, audio, start, samples, settings, most_missing_s) for start in starts]
    return sections


def _check_length(found_s: Fraction, settings: PrepareSettings) -> None:
    wanted = Fraction(settings.audio_samples - _ROUNDING, settings.audio_rate_hz)
    if found_s < wanted:
        expected = f"expected {settings.window_s:.2f} s of audio or more, found {float(found_s):.2f} s"
        raise MediaError(Reason.TOO_SHORT, expected)


def _extent(video: VideoFile) -> tuple[Fraction, Fraction]:
    """Begin and end of the audio track on the container's clock, as far as its header tells."""
    audio = video.audio
    begin = (audio.start_time or 0) * tick_of(audio)
    if audio.duration:
        return begin, begin + audio.duration * tick_of(audio)
    if video.container.duration:
        start = Fraction(video.container.start_time or 0, av.time_base)
        return begin, start + Fraction(video.container.duration, av.time_base)
    return begin, video.zero + video.duration_s


def _inside(start: Fraction, begin: Fraction, latest: Fraction) -> Fraction:
    return max(begin, min(start, latest))


def _groups(centres: Sequence[Fraction], length: Fraction) -> Iterator[list[Fraction]]:
    """Centres whose windows overlap or lie close, up to a length that is easily held in memory."""
    group: list[Fraction] = []
    for centre in centres:
        if group and (centre > group[-1] + length + 2 * _PREROLL_S or centre > group[0] + _MOST_TOGETHER_S):
            yield group
            group = []
        group.append(centre)
    if group:
        yield group


def _cut(
    video: VideoFile, stretch: _Stretch, wanted: Sequence[tuple[Fraction, Fraction]], settings: PrepareSettings
) -> Iterator[Window | None]:
    """The window of each (centre, start) out of the stretch that holds them all."""
    rate, samples = settings.audio_rate_hz, settings.audio_samples
    audio = _resample(stretch, settings)
    if samples - _ROUNDING <= audio.shape[1] < samples:
        audio = np.pad(audio, ((0, 0), (0, samples - audio.shape[1])))
    for centre, start in wanted:
        offset = min(max(0, round((start - stretch.start_s) * rate)), audio.shape[1] - samples)
        if offset < 0:
            yield None
            continue
        begin = stretch.start_s + Fraction(offset, rate)
        low, high = (place * stretch.rate_hz // rate for place in (offset, offset + samples))
        missing = np.count_nonzero(~stretch.heard[low:high])
        beside = not begin - _GAP_S <= centre <= begin + Fraction(samples, rate) + _GAP_S
        whole = missing <= _GAP_S * stretch.rate_hz and not beside
        yield Window(begin - video.zero, audio[:, offset : offset + samples]) if whole else None


def _section(
    video: VideoFile,
    stretch: _Stretch,
    audio: npt.NDArray[np.int16],
    start: Fraction,
    samples: int,
    settings: PrepareSettings,
    most_missing_s: Fraction,
) -> Window | Reason:
    """`samples` from `start` on the container's clock out of a stretch and its resampled audio."""
    rate = settings.audio_rate_hz
    offset = round((start - stretch.start_s) * rate)
    before = min(max(0, -offset), samples)
    found = audio[:, max(0, offset) : max(0, offset + samples)]
    after = samples - before - found.shape[1]
    if before + after > max(most_missing_s * rate, _ROUNDING):
        return Reason.TOO_SHORT
    low, high = (max(0, place) * stretch.rate_hz // rate for place in (offset, offset + samples))
    if np.count_nonzero(~stretch.heard[low:high]) > _GAP_S * stretch.rate_hz:
        return Reason.DAMAGED
    begin = stretch.start_s + Fraction(offset, rate)
    return Window(begin - video.zero, np.pad(found, ((0, 0), (before, after))))


def _resample(stretch: _Stretch, settings: PrepareSettings) -> npt.NDArray[np.int16]:
    """int16 [C, N] at the wanted rate; sample 0 stays where it is."""
    if not stretch.audio.size:
        return np.zeros((settings.channels, 0), np.int16)
    layout = _LAYOUTS[settings.channels]
    frame = av.AudioFrame.from_ndarray(stretch.audio, format="fltp", layout=layout)
    frame.sample_rate = stretch.rate_hz
    frame.pts = 0
    frame.time_base = Fraction(1, stretch.rate_hz)
    resampler = av.AudioResampler(format="fltp", layout=layout, rate=settings.audio_rate_hz)
    pieces = [piece.to_ndarray() for item in (frame, None) for piece in resampler.resample(item)]
    audio = np.concatenate(pieces, axis=1)
    whole: npt.NDArray[np.int16] = np.clip(np.rint(audio * 32768), -32768, 32767).astype(np.int16)
    return whole


def _decode(video: VideoFile, first_s: Fraction, last_s: Fraction, channels: int) -> _Stretch:
    """The track from `first_s` to `last_s` on the container's clock, or as much of it as there is."""
    begin, _ = _extent(video)
    earliest = begin - 1
    # some demuxers land behind the wanted time: then again from farther back
    for back_s in (0, 2, 16, 128, None):
        start = earliest if back_s is None else max(earliest, first_s - _PREROLL_S - back_s)
        track = _read_from(video, start, last_s, channels)
        if start == earliest or (track.ticks and track.ticks[0] * track.tick_s <= max(first_s, begin)):
            break
    return _place(track, first_s, last_s)


@dataclass
class _Decoded:
    """Decoded frames of a track, all of one rate.

    Attributes:
        ticks: presentation time of each frame.
        lengths: samples of each frame.
        audio: the frames [C, N] without what may lie between them.
    """

    tick_s: Fraction
    rate_hz: int
    ticks: list[int]
    lengths: list[int]
    audio: Float


def _read_from(video: VideoFile, start_s: Fraction, last_s: Fraction, channels: int) -> _Decoded:
    """Each decodable audio frame from about `start_s` until the first behind `last_s` on the container's clock.

    Raises:
        MediaError: `damaged` where the track changes its rate.
    """
    audio, tick = video.audio, tick_of(video.audio)
    # Matroska indexes its video only: sought by audio it lands behind whatever audio was read before
    video.seek(int(start_s // video.tick_s))
    audio.codec_context.flush_buffers()
    first_tick, last_tick = math.ceil(start_s / tick), math.floor(last_s / tick)
    ticks: list[int] = []
    mixer = _Mixer(channels)
    for packet in packets_of(video.container, audio):
        if packet.pts is not None and packet.pts + (packet.duration or 0) < first_tick:
            continue
        try:
            decoded = audio.codec_context.decode(packet if packet.size else None)
        except av.FFmpegError:
            continue  # leaves a hole, which is looked at when the windows are cut
        for frame in decoded:
            if frame.pts is not None and frame.samples:
                ticks.append(frame.pts)
                mixer.add(frame)
        if ticks and ticks[-1] > last_tick:
            break
    return _Decoded(tick, mixer.rate_hz, ticks, mixer.lengths, mixer.mixed())


class _Mixer:
    """Frames of any sample format and channel layout to float32 [C, N] at their own rate.

    Attributes:
        lengths: samples of each frame.
    """

    def __init__(self, channels: int) -> None:
        self.lengths: list[int] = []
        self.rate_hz = 0
        self._layout = _LAYOUTS[channels]
        self._kind: tuple[str, str] | None = None
        self._waiting = av.AudioFifo()
        self._pieces: list[Float] = [np.zeros((channels, 0), np.float32)]

    def add(self, frame: av.AudioFrame) -> None:
        kind = (frame.format.name, frame.layout.name)
        self.rate_hz = self.rate_hz or frame.sample_rate
        if frame.sample_rate != self.rate_hz:
            raise MediaError(Reason.DAMAGED, "its audio track changes its sample rate")
        # many frames at once cost what one does; not all, which would fill the memory with surround sound
        if kind != self._kind or self._waiting.samples > _MOST_WAITING:
            self._mix()
            self._kind = kind
        frame.pts = None  # its time is kept outside; the resampler would fill holes by itself
        self._waiting.write(frame)
        self.lengths.append(frame.samples)

    def mixed(self) -> Float:
        """All that was added."""
        self._mix()
        return np.concatenate(self._pieces, axis=1)

    def _mix(self) -> None:
        if self._kind is not None:
            resampler = av.AudioResampler("fltp", self._layout, self.rate_hz)
            self._pieces += [piece.to_ndarray() for piece in resampler.resample(self._waiting.read())]
            self._waiting = av.AudioFifo()


def _place(track: _Decoded, first_s: Fraction, last_s: Fraction) -> _Stretch:
    """Put each frame where its time says; between `first_s` and `last_s`, cut to what was found."""
    rate, tick = track.rate_hz, track.tick_s
    last_tick = math.ceil(last_s / tick)
    # in samples times ticks, whole numbers that any two times can be compared in
    first = math.floor(first_s * rate * tick.denominator)
    scale = rate * tick.numerator
    ends = [at * scale + length * tick.denominator for at, length in zip(track.ticks, track.lengths, strict=True)]
    kept = [index for index, at in enumerate(track.ticks) if at < last_tick and ends[index] > first]
    if not kept:
        return _Stretch(first_s, 1, np.zeros((1, 0), np.float32), np.zeros(0, np.bool_))
    begin = track.ticks[kept[0]]
    sources = list(itertools.accumulate(track.lengths, initial=0))
    jitter = int(_JITTER_S * rate)
    moves: list[tuple[int, int, int]] = []  # (place, source, samples), joined where both go on
    expected = 0
    for index in kept:
        exact = ((track.ticks[index] - begin) * scale * 2 + tick.denominator) // (2 * tick.denominator)
        place = expected if abs(exact - expected) <= jitter else exact
        expected = place + track.lengths[index]
        if moves and sum(moves[-1][::2]) == place and moves[-1][1] + moves[-1][2] == sources[index]:
            moves[-1] = (moves[-1][0], moves[-1][1], moves[-1][2] + track.lengths[index])
        else:
            moves.append((place, sources[index], track.lengths[index]))
    length = max(place + samples for place, _, samples in moves)
    audio = np.zeros((track.audio.shape[0], length), np.float32)
    heard = np.zeros(length, np.bool_)
    for place, source, samples in moves:
        skipped = max(0, -place)
        audio[:, place + skipped : place + samples] = track.audio[:, source + skipped : source + samples]
        heard[place + skipped : place + samples] = True
    start = begin * tick
    low = max(0, int((first_s - start) * rate))
    high = min(length, int((last_s - start) * rate) + 1)
    return _Stretch(start + Fraction(low, rate), rate, audio[:, low:high], heard[low:high])
