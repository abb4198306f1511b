"""Which packets of a video have to be decoded for a frame at a given time: found by seeking, without decoding."""

import bisect
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

import av

from pipeline.video.bitstream import is_shown
from pipeline.video.start_points import StartPoints
from pipeline.video.track_extent import packets_of
from pipeline.video.video_file import VideoFile

_MOST_REORDERED = 17  # H.264 and H.265 hold back at most 16 frames


@dataclass
class PacketRun:
    """Packets from a start point to the last one that is needed, in decoding order, and the times wanted from them.

    Attributes:
        packets: everything that the wanted frames depend on, and nothing behind them.
        refresh: how many packets at the beginning aren't whole pictures yet, but replace one bit by bit.
        starts: how many start points are among the packets.
        wanted: wanted time (s on the container's clock) → presentation time (ticks) of the frame displayed then.
    """

    packets: list[av.Packet]
    refresh: int = 0
    starts: int = 1
    wanted: dict[Fraction, int] = field(default_factory=dict)


def find_runs(video: VideoFile, times_s: Sequence[Fraction]) -> Iterator[PacketRun]:
    """The runs that hold the frames displayed at `times_s` (s from the video's zero, in order).

    A frame is displayed from its own presentation time until the next one's. Times at which no frame is displayed any
    more, because the file breaks off, are left out, and those that no start point lies before. Times between the same
    two start points share a run, so nothing is read or decoded twice; only one run is held in memory at a time.
    """
    waiting = deque(time + video.zero for time in times_s)
    while waiting:
        passage = _passage_to(video, int(waiting[0] // video.tick_s))
        run: PacketRun | None = None
        start: int | None = None
        while waiting and passage is not None:
            tick = int(waiting[0] // video.tick_s)
            place = passage.place_of(tick, start)
            if place is None:
                break
            moment = waiting.popleft()
            if passage.breaks_off(tick, place):
                continue
            if run is None or place.last - place.first >= len(run.packets):
                start = place.first
                run = passage.run(place, run)
            run.wanted[moment] = place.target
        if run is not None:
            yield run
        elif passage is None:
            waiting.popleft()


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


class _FramePlace(NamedTuple):
    """Where in a passage a frame is: packets `first` to `last` decode it, `target` is its presentation time (ticks)."""

    first: int
    last: int
    target: int


class _Passage:
    """Packets read one after the other from where the container stands, as far as they are needed."""

    def __init__(self, video: VideoFile) -> None:
        self.packets: list[av.Packet] = []
        self._video = video
        self._codec = video.video.codec_context.name
        self._source = timed_packets(video)
        self._starts = StartPoints(video.video.codec_context)
        self._times: list[int] = []
        self._shown: list[tuple[int, int]] = []
        self._last_dts: int | None = None

    def place_of(self, tick: int, start: int | None = None) -> _FramePlace | None:
        """The frame displayed at `tick`; None if no packet is displayed by then, or it needs another start point than
        the packet number `start`."""
        if not self._read_until(tick, start):
            return None
        found = bisect.bisect_left(self._shown, (tick + 1, 0)) - 1
        if found < 0:
            return None
        target, last = self._shown[found]
        first = self._starts.start_for(last, target)
        if self._video.hides_order:
            first = self._starts.start_for(0, presentation_time(self.packets[0]) or 0)
            last = min(last + _MOST_REORDERED, len(self.packets)) - 1
        return _FramePlace(first, last, target) if first is not None and start in (None, first) else None

    def run(self, place: _FramePlace, shorter: PacketRun | None) -> PacketRun:
        """The run that ends at a place, with the wanted times of a shorter one from the same start point."""
        packets = self.packets[place.first : place.last + 1]
        refresh = self._starts.refresh_of(place.first)
        starts = self._starts.starts_in(place.first, place.last)
        return PacketRun(packets, refresh, starts, shorter.wanted if shorter is not None else {})

    def breaks_off(self, tick: int, place: _FramePlace) -> bool:
        """Whether the file ends with the frame at `place`, long before `tick`."""
        if self._times[-1] > tick:
            return False
        base = self._video.tick_s
        lasts_s = max((self.packets[place.last].duration or 0) * base, self._video.frame_s)
        return tick * base > place.target * base + lasts_s + self._video.frame_s

    def _read_until(self, tick: int, start: int | None) -> bool:
        """Read until nothing that follows can be displayed by `tick`; False as soon as pictures by then are whole from
        a start point behind packet number `start`."""
        while True:
            newest = self._starts.newest if not self._video.hides_order else None
            if start is not None and newest is not None and newest.time <= tick and newest.start > start:
                return False
            if len(self._times) - bisect.bisect_right(self._times, tick) >= _MOST_REORDERED:
                return True
            if self._last_dts is not None and self._last_dts > tick and not self._video.hides_order:
                return True
            packet = next(self._source, None)
            if packet is None:
                return True
            time, number = presentation_time(packet) or 0, len(self.packets)
            if is_shown(packet, self._codec):
                bisect.insort(self._shown, (time, number))
            self._starts.add(packet, time)
            bisect.insort(self._times, time)
            self.packets.append(packet)
            if packet.dts is not None:
                self._last_dts = packet.dts


def timed_packets(video: VideoFile) -> Iterator[av.Packet]:
    """Packets of the video track that have a time, from where the container stands."""
    for packet in packets_of(video.container, video.video):
        if video.has_no_times:
            packet.pts = None
        if packet.size and presentation_time(packet) is not None:
            yield packet
