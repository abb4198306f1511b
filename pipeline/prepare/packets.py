"""Which packets of a video have to be decoded for a frame at a given time: found by seeking, without decoding."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import av

from pipeline.prepare.video_file import VideoFile

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
    decoded twice; only one run is held in memory at a time.
    """
    pending: Run | None = None
    for time in times_s:
        moment = time + video.zero
        found = _find_run(video, moment)
        if found is None:
            continue
        if pending is not None and pending.packets[0].pts == found.packets[0].pts:
            found.wanted = pending.wanted | found.wanted
            if len(found.packets) < len(pending.packets):
                found.packets = pending.packets
        elif pending is not None:
            yield pending
        pending = found
    if pending is not None:
        yield pending


def packets_before(video: VideoFile, run: Run) -> list[av.Packet]:
    """The packets from the keyframe before a run up to it, in decoding order; none where it is the first."""
    first = run.packets[0]
    begin = presentation_time(first)
    tick = min(time for time in (first.pts, first.dts) if time is not None)
    # some demuxers land on the run's own keyframe again
    for back_s in (0, 1, 4, 16):
        video.seek(tick - 1 - int(back_s / video.tick_s))
        packets: list[av.Packet] = []
        for packet in _from_keyframe(video):
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


def _find_run(video: VideoFile, moment: Fraction) -> Run | None:
    base = video.tick_s
    tick = int(moment // base)
    # a bit before the start, since MPEG streams are sought by decoding time, which lies before the presentation
    first = int(video.video.start_time or 0) - int(1 / base)
    # some demuxers seek by decoding time and land behind the wanted frame, and the leading pictures of an open GOP need
    # the keyframe before theirs: then again from farther back
    for back_s in (0, 1, 4, 16, 64, 256, None):
        start = first if back_s is None else max(first, tick - int(back_s / base))
        video.seek(start)
        packets = _read_until_settled(video, tick)
        run = _cut(packets, tick, moment)
        if run is not None:
            return None if _breaks_off(video, run, packets, tick) else run
        if start == first:
            return None
    return None


def _read_until_settled(video: VideoFile, tick: int) -> list[av.Packet]:
    """Packets from the keyframe that the container stands at, until none that follows can be displayed by `tick`."""
    packets: list[av.Packet] = []
    later = 0
    for packet in _from_keyframe(video):
        packets.append(packet)
        later += (presentation_time(packet) or 0) > tick
        if (packet.dts is not None and packet.dts > tick) or later >= _MOST_REORDERED:
            break
    return packets


def _from_keyframe(video: VideoFile) -> Iterator[av.Packet]:
    """Packets of the video track with a time, from the first keyframe behind where the container stands."""
    begun = False
    for packet in video.container.demux(video.video):
        begun = begun or packet.is_keyframe
        if begun and packet.size and presentation_time(packet) is not None:
            yield packet


def _cut(packets: list[av.Packet], tick: int, moment: Fraction) -> Run | None:
    shown = [(presentation_time(packet) or 0, index) for index, packet in enumerate(packets) if _is_shown(packet)]
    target, last = max(((time, index) for time, index in shown if time <= tick), default=(0, -1))
    if last < 0:
        return None
    for first in range(last, -1, -1):
        if packets[first].is_keyframe and (presentation_time(packets[first]) or 0) <= target:
            return Run(packets[first : last + 1], {moment: target})
    return None


def _is_shown(packet: av.Packet) -> bool:
    if packet.is_discard:  # outside the edit list
        return False
    # VP8 puts hidden reference frames into packets of their own; bit 4 of the first byte is its show_frame flag
    return packet.stream.codec_context.name != "vp8" or bool(memoryview(packet)[0] & 0x10)


def _breaks_off(video: VideoFile, run: Run, packets: list[av.Packet], tick: int) -> bool:
    """Whether the file ends with the frame that was found, long before the wanted time."""
    if any((presentation_time(packet) or 0) > tick for packet in packets):
        return False
    base = video.tick_s
    target = next(iter(run.wanted.values()))
    last = next(packet for packet in run.packets if presentation_time(packet) == target)
    lasts_s = max((last.duration or 0) * base, video.frame_s)
    return tick * base > target * base + lasts_s + video.frame_s
