"""Which packets of a video have to be decoded for a frame at a given time: found by seeking, without decoding."""

import bisect
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

import av

from pipeline.prepare.video_file import VideoFile, packets_of

_MOST_REORDERED = 17  # H.264 and H.265 hold back at most 16 frames


@dataclass
class Run:
    """Packets from a keyframe to the last one that is needed, in decoding order, and the times wanted from them.

    Attributes:
        packets: everything that the wanted frames depend on, and nothing behind them.
        wanted: wanted time (s on the container's clock) → presentation time (ticks) of the frame displayed then.
    """

    packets: list[av.Packet]
    wanted: dict[Fraction, int] = field(default_factory=dict)


def find_runs(video: VideoFile, times_s: Sequence[Fraction]) -> Iterator[Run]:
    """The runs that hold the frames displayed at `times_s` (s from the video's zero, in order).

    A frame is displayed from its own presentation time until the next one's. Times at which no frame is displayed any
    more, because the file breaks off, are left out. Times between the same two keyframes share a run, so nothing is
    read or decoded twice; only one run is held in memory at a time.
    """
    waiting = deque(time + video.zero for time in times_s)
    while waiting:
        passage = _passage_to(video, int(waiting[0] // video.tick_s))
        run: Run | None = None
        keyframe: int | None = None
        while waiting and passage is not None:
            tick = int(waiting[0] // video.tick_s)
            place = passage.place_of(tick, keyframe)
            if place is None:
                break
            moment = waiting.popleft()
            if passage.breaks_off(tick, place):
                continue
            packets = passage.packets[place.first : place.last + 1]
            if run is None:
                run, keyframe = Run(packets), place.first
            elif len(packets) > len(run.packets):
                run.packets = packets
            run.wanted[moment] = place.target
        if run is not None:
            yield run
        elif passage is None:
            waiting.popleft()


def packets_before(video: VideoFile, run: Run) -> list[av.Packet]:
    """The packets from the keyframe before a run up to it, in decoding order; none where it is the first."""
    first = run.packets[0]
    begin = presentation_time(first)
    tick = min(time for time in (first.pts, first.dts) if time is not None)
    # some demuxers land on the run's own keyframe again
    for back_s in (0, 1, 4, 16):
        video.seek(tick - 1 - int(back_s / video.tick_s))
        packets: list[av.Packet] = []
        for packet in from_keyframe(video):
            if presentation_time(packet) == begin:
                break
            if None not in (packet.dts, first.dts) and packet.dts > first.dts:
                return []
            packets.append(packet)
        if packets:
            return packets[max(index for index, packet in enumerate(packets) if packet.is_keyframe) :]
    return []


def presentation_time(packet: av.Packet) -> int | None:
    """Presentation time in ticks; AVI knows only the decoding time."""
    time: int | None = packet.pts if packet.pts is not None else packet.dts
    return time


def _passage_to(video: VideoFile, tick: int) -> "_Passage | None":
    """Packets from before `tick` on that hold the frame displayed then; None if there is none."""
    # a bit before the start, since MPEG streams are sought by decoding time, which lies before the presentation
    first = int(video.video.start_time or 0) - int(1 / video.tick_s)
    # some demuxers seek by decoding time and land behind the wanted frame, and the leading pictures of an open GOP need
    # the keyframe before theirs: then again from farther back
    for back_s in (None,) if video.hides_order else (0, 1, 4, 16, 64, 256, None):
        start = first if back_s is None else max(first, tick - int(back_s / video.tick_s))
        video.seek(start)
        passage = _Passage(video)
        if passage.place_of(tick) is not None:
            return passage
        if start == first:
            return None
    return None


class _Place(NamedTuple):
    """Where in a passage a frame is: packets `first` to `last` decode it, `target` is its presentation time (ticks)."""

    first: int
    last: int
    target: int


class _Passage:
    """Packets read one after the other from the keyframe that the container stands at, as far as they are needed."""

    def __init__(self, video: VideoFile) -> None:
        self.packets: list[av.Packet] = []
        self._video = video
        self._source = from_keyframe(video)
        self._times: list[int] = []
        self._shown: list[tuple[int, int]] = []
        self._keyframes: list[tuple[int, int]] = []
        self._last_dts: int | None = None

    def place_of(self, tick: int, keyframe: int | None = None) -> _Place | None:
        """The frame displayed at `tick`; None if no packet is displayed by then, or it needs another keyframe than the
        packet number `keyframe`."""
        if not self._read_until(tick, keyframe):
            return None
        found = bisect.bisect_left(self._shown, (tick + 1, 0)) - 1
        if found < 0:
            return None
        target, last = self._shown[found]
        if self._video.hides_order:
            return _Place(0, min(last + _MOST_REORDERED, len(self.packets)) - 1, target)
        for first in range(last, -1, -1):
            if self.packets[first].is_keyframe and (presentation_time(self.packets[first]) or 0) <= target:
                return _Place(first, last, target) if keyframe in (None, first) else None
        return None

    def breaks_off(self, tick: int, place: _Place) -> bool:
        """Whether the file ends with the frame at `place`, long before `tick`."""
        if self._times[-1] > tick:
            return False
        base = self._video.tick_s
        lasts_s = max((self.packets[place.last].duration or 0) * base, self._video.frame_s)
        return tick * base > place.target * base + lasts_s + self._video.frame_s

    def _read_until(self, tick: int, keyframe: int | None) -> bool:
        """Read until nothing that follows can be displayed by `tick`; False as soon as a keyframe behind packet number
        `keyframe` is."""
        while True:
            last_keyframe = self._keyframes[-1] if self._keyframes and not self._video.hides_order else (0, 0)
            if keyframe is not None and last_keyframe[0] <= tick and last_keyframe[1] > keyframe:
                return False
            if len(self._times) - bisect.bisect_right(self._times, tick) >= _MOST_REORDERED:
                return True
            if self._last_dts is not None and self._last_dts > tick and not self._video.hides_order:
                return True
            packet = next(self._source, None)
            if packet is None:
                return True
            time, number = presentation_time(packet) or 0, len(self.packets)
            if _is_shown(packet):
                bisect.insort(self._shown, (time, number))
            if packet.is_keyframe:
                self._keyframes.append((time, number))
            bisect.insort(self._times, time)
            self.packets.append(packet)
            if packet.dts is not None:
                self._last_dts = packet.dts


def from_keyframe(video: VideoFile) -> Iterator[av.Packet]:
    """Packets of the video track with a time, from the first keyframe behind where the container stands."""
    begun = False
    for packet in packets_of(video.container, video.video):
        begun = begun or packet.is_keyframe
        if video.has_no_times:
            packet.pts = None
        if begun and packet.size and presentation_time(packet) is not None:
            yield packet


def _is_shown(packet: av.Packet) -> bool:
    if packet.is_discard:  # outside the edit list
        return False
    # VP8 puts hidden reference frames into packets of their own; bit 4 of the first byte is its show_frame flag
    return packet.stream.codec_context.name != "vp8" or bool(memoryview(packet)[0] & 0x10)
