"""Windows of audio around given times, resampled, each placed exactly on the video's clock."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import av
import numpy as np
import numpy.typing as npt

from pipeline.errors import MediaError
from pipeline.reasons import Reason
from pipeline.sound.sound_frames import FILTER_S, SoundFrames, as_int16, at_rate
from pipeline.video.track_extent import packets_of, tick_of
from pipeline.video.video_file import VideoFile

_PREROLL_S = Fraction(1, 2)  # decoders need some audio before the first right sample: Opus 80 ms, MP3 its bit reservoir
_GAP_S = Fraction(1, 10)  # a window may have a hole of this length in it
_ROUNDING = 2  # samples by which a track may miss a whole window and still count as long enough
_MOST_TOGETHER_S = 180
_LEAST_REPEATED_S = Fraction(1, 10)  # less of it, again and again, would be a tone


class WindowFormat(Protocol):
    """How a window of audio is stored: its rate in Hz, its length in samples, its channels."""

    @property
    def audio_rate_hz(self) -> int: ...
    @property
    def audio_samples(self) -> int: ...
    @property
    def channels(self) -> int: ...


@dataclass(frozen=True)
class Window:
    """A window of audio.

    Attributes:
        start_s: time of its first sample, seconds from the video's zero.
        audio: int16 [C, S].
        repeated: the whole track is shorter, and is repeated before and behind itself.
    """

    start_s: Fraction
    audio: npt.NDArray[np.int16]
    repeated: bool = False


@dataclass
class _DecodedAudio:
    """Decoded audio [C, N] at the wanted rate; sample 0 is at `start_s` on the container's clock.

    Attributes:
        heard: [N], False in holes.
        failed_s: times on the container's clock from which something could not be decoded.
    """

    start_s: Fraction
    rate_hz: int
    audio: npt.NDArray[np.int16]
    heard: npt.NDArray[np.bool_]
    failed_s: list[Fraction]

    @property
    def end_s(self) -> Fraction:
        """When it ends."""
        return self.start_s + Fraction(self.audio.shape[1], self.rate_hz)

    def hole_in(self, low: int, high: int) -> Reason | None:
        """Why the samples from `low` to `high` are not whole: `damaged` where something there could not be decoded,
        `too_short` where there is no sound; None where they are."""
        if np.count_nonzero(~self.heard[max(0, low) : max(0, high)]) <= _GAP_S * self.rate_hz:
            return None
        begin, end = (self.start_s + Fraction(place, self.rate_hz) for place in (low, high))
        failed = any(begin - _GAP_S <= time <= end for time in self.failed_s)
        return Reason.DAMAGED if failed else Reason.TOO_SHORT


def read_windows(
    video: VideoFile,
    centres_s: Sequence[Fraction],
    form: WindowFormat,
    asked_by: str = "prepare.audio_samples",
    repeat: bool = False,
) -> list[Window | Reason]:
    """A window of `form.audio_samples` around each of `centres_s` (s from the video's zero, in order).

    A window that would reach over an end of the audio track is shifted inside. Windows that overlap or lie close are
    decoded and resampled together, so each part of the track is decoded once. In a window's place stands `too_short`
    where it would have to lie beside its centre, because the track begins after it or ends before it, or where the
    track has a hole; `damaged` where something in it could not be decoded. Of a video without an audio track all are
    silent.

    Args:
        asked_by: the setting that the length of a window comes from, for whom it is too long.
        repeat: a track that is shorter than a window is repeated before and behind itself, so that the sound of a
            window's centre stays there.

    Raises:
        MediaError: `too_short` where the track is shorter than a window, or than 0.1 s where it is repeated;
            `unreadable` where nothing decodes its kind.
    """
    length = Fraction(form.audio_samples, form.audio_rate_hz)
    if video.sound is None:
        return [_silence(centre - length / 2, form.audio_samples, form) for centre in centres_s]
    begin, end = sound_extent(video)
    windows: list[Window | Reason] = []
    for centres in _groups([centre + video.zero for centre in centres_s], length):
        if repeat and _is_short(end - begin, form):
            windows += _repeated(video, centres, form)
            continue
        _check_length(end - begin, form, asked_by)
        starts = [_inside(centre - length / 2, begin, end - length) for centre in centres]
        stretch = _decode(video, starts[0] - FILTER_S, starts[-1] + length + FILTER_S, form)
        if stretch.audio.size and stretch.end_s < starts[-1] + length - Fraction(1, stretch.rate_hz):
            # the track ends before its header says so: these windows move once more
            end = stretch.end_s
            if repeat and _is_short(end - begin, form):
                windows += _repeated(video, centres, form)
                continue
            _check_length(end - begin, form, asked_by)
            starts = [_inside(start, begin, end - length) for start in starts]
            stretch = _decode(video, starts[0] - FILTER_S, end, form)
        windows += _cut(video, stretch, list(zip(centres, starts, strict=True)), form)
    return windows


def read_sections(
    video: VideoFile,
    starts_s: Sequence[Fraction],
    samples: int,
    form: WindowFormat,
    most_missing_s: Fraction,
) -> list[Window | Reason]:
    """`samples` of audio from each of `starts_s` (s from the video's zero, in order), exactly there.

    Where the track begins late or ends early, silence fills up to `most_missing_s` of a section. In a section's place
    stands `too_short` where more is missing or there is a hole in it, `damaged` where something in it could not be
    decoded. Of a video without an audio track all are silent.

    Raises:
        MediaError: `unreadable` where nothing decodes the kind of the track.
    """
    if video.sound is None:
        return [_silence(start, samples, form) for start in starts_s]
    sections: list[Window | Reason] = []
    length = Fraction(samples, form.audio_rate_hz)
    for starts in _groups([start + video.zero for start in starts_s], length):
        stretch = _decode(video, starts[0] - FILTER_S, starts[-1] + length + FILTER_S, form)
        sections += [_section(video, stretch, start, samples, most_missing_s) for start in starts]
    return sections


def _is_short(found_s: Fraction, form: WindowFormat) -> bool:
    return found_s < Fraction(form.audio_samples - _ROUNDING, form.audio_rate_hz)


def _silence(start_s: Fraction, samples: int, form: WindowFormat) -> Window:
    return Window(start_s, np.zeros((form.channels, samples), np.int16))


def _check_length(found_s: Fraction, form: WindowFormat, asked_by: str) -> None:
    if _is_short(found_s, form):
        expected = f"expected {form.audio_samples / form.audio_rate_hz:.2f} s of audio or more, as {asked_by} asks"
        raise MediaError(Reason.TOO_SHORT, f"{expected}, found {float(found_s):.2f} s")


def sound_extent(video: VideoFile) -> tuple[Fraction, Fraction]:
    """Begin and end of the audio track on the container's clock, as far as its header tells; without one those of the
    picture."""
    if video.sound is None:
        return video.zero, video.zero + video.duration_s
    audio = video.sound
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
    video: VideoFile, stretch: _DecodedAudio, wanted: Sequence[tuple[Fraction, Fraction]], form: WindowFormat
) -> Iterator[Window | Reason]:
    """The window of each (centre, start) out of the stretch that holds them all."""
    rate, samples = form.audio_rate_hz, form.audio_samples
    audio = stretch.audio
    if samples - _ROUNDING <= audio.shape[1] < samples:
        audio = np.pad(audio, ((0, 0), (0, samples - audio.shape[1])))
    for centre, start in wanted:
        offset = min(max(0, round((start - stretch.start_s) * rate)), audio.shape[1] - samples)
        if offset < 0:
            yield Reason.DAMAGED if stretch.failed_s else Reason.TOO_SHORT
            continue
        begin = stretch.start_s + Fraction(offset, rate)
        hole = stretch.hole_in(offset, offset + samples)
        if hole is not None:
            yield hole
        elif not begin - _GAP_S <= centre <= begin + Fraction(samples, rate) + _GAP_S:
            yield Reason.TOO_SHORT
        else:
            yield Window(begin - video.zero, audio[:, offset : offset + samples])


def _repeated(video: VideoFile, centres: Sequence[Fraction], form: WindowFormat) -> Iterator[Window | Reason]:
    """The window of each centre out of the whole track, which is shorter."""
    rate, samples = form.audio_rate_hz, form.audio_samples
    begin, end = sound_extent(video)
    track = _decode(video, begin - FILTER_S, end + FILTER_S, form)
    whole = track.audio.shape[1]
    hole = track.hole_in(0, whole) if whole else Reason.DAMAGED if track.failed_s else Reason.TOO_SHORT
    if hole is None and whole < _LEAST_REPEATED_S * rate:
        expected = f"expected {float(_LEAST_REPEATED_S):.2f} s of audio or more, which can be repeated"
        raise MediaError(Reason.TOO_SHORT, f"{expected}, found {whole / rate:.2f} s")
    for centre in centres:
        if hole is not None:
            yield hole
        elif not track.start_s - _GAP_S <= centre <= track.end_s + _GAP_S:
            yield Reason.TOO_SHORT
        else:
            first = round((centre - track.start_s) * rate - Fraction(samples, 2))
            audio = track.audio.take(range(first, first + samples), axis=1, mode="wrap")
            yield Window(track.start_s + Fraction(first, rate) - video.zero, audio, repeated=True)


def _section(
    video: VideoFile, stretch: _DecodedAudio, start: Fraction, samples: int, most_missing_s: Fraction
) -> Window | Reason:
    """`samples` from `start` on the container's clock out of a stretch."""
    rate = stretch.rate_hz
    offset = round((start - stretch.start_s) * rate)
    before = min(max(0, -offset), samples)
    found = stretch.audio[:, max(0, offset) : max(0, offset + samples)]
    after = samples - before - found.shape[1]
    if before + after > max(most_missing_s * rate, _ROUNDING):
        return Reason.TOO_SHORT
    hole = stretch.hole_in(offset, offset + samples)
    if hole is not None:
        return hole
    begin = stretch.start_s + Fraction(offset, rate)
    return Window(begin - video.zero, np.pad(found, ((0, 0), (before, after))))


def _decode(video: VideoFile, first_s: Fraction, last_s: Fraction, form: WindowFormat) -> _DecodedAudio:
    """The track from `first_s` to `last_s` on the container's clock, or as much of it as there is."""
    begin, _ = sound_extent(video)
    earliest, tick = begin - 1, tick_of(video.audio)
    # some demuxers land behind the wanted time: then again from farther back
    for back_s in (0, 2, 16, 128, None):
        start = earliest if back_s is None else max(earliest, first_s - _PREROLL_S - back_s)
        frames, failed = _read_from(video, start, last_s, form.channels)
        if start == earliest or (frames.first_tick is not None and frames.first_tick * tick <= max(first_s, begin)):
            break
    rate = form.audio_rate_hz
    sound = at_rate(frames.parts(first_s, last_s), rate)
    if sound is None:
        nothing = np.zeros((form.channels, 0), np.int16)
        return _DecodedAudio(first_s, rate, nothing, np.zeros(0, np.bool_), failed)
    return _DecodedAudio(sound.start_s, rate, as_int16(sound.audio), sound.heard, failed)


def _read_from(
    video: VideoFile, start_s: Fraction, last_s: Fraction, channels: int
) -> tuple[SoundFrames, list[Fraction]]:
    """Each decodable audio frame from about `start_s` until the first behind `last_s` on the container's clock, and the
    times of what could not be decoded.

    Raises:
        MediaError: `unreadable` where nothing decodes the kind of the track.
    """
    audio, tick = video.audio, tick_of(video.audio)
    _open_decoder(audio)
    # Matroska indexes its video only: sought by audio it lands behind whatever audio was read before
    video.seek(int(start_s // video.tick_s))
    audio.codec_context.flush_buffers()
    first_tick, last_tick = math.ceil(start_s / tick), math.floor(last_s / tick)
    frames, failed = SoundFrames(channels, tick, video.container.format.name), list[Fraction]()
    for packet in packets_of(video.container, audio):
        frames.expect(packet)
        if packet.pts is not None and packet.pts + (packet.duration or 0) < first_tick:
            continue
        broken = packet.is_corrupt  # also what comes first behind something that is lost
        try:
            decoded = audio.codec_context.decode(packet if packet.size else None)
        except av.FFmpegError:
            decoded, broken = [], True
        if broken:
            time = packet.pts if packet.pts is not None else frames.last_tick
            failed.append(start_s if time is None else time * tick)
        for frame in decoded:
            if frame.pts is not None or frames.last_tick is not None:
                frames.add(frame)
        if frames.last_tick is not None and frames.last_tick > last_tick:
            break
    return frames, failed


def _open_decoder(audio: av.AudioStream) -> None:
    context = audio.codec_context
    if context.is_open:
        return
    try:
        context.open()
    except av.FFmpegError as error:
        raise MediaError(
            Reason.UNREADABLE, f"FFmpeg does not decode the kind of {context.name} sound in it ({error.strerror})"
        ) from None
