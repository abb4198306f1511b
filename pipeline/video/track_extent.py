"""Where the picture of a container begins and ends, from its packets and without decoding."""

from collections.abc import Iterator
from fractions import Fraction

import av
from av.container import InputContainer

from pipeline.video.start_points import StartPoints

_TAIL_S = 5  # how far before the end the last video packet is searched for where only the container has a length
_MOST_REORDERED = 17  # H.264 and H.265 hold back at most 16 frames
_MOST_SEARCHED = 3000  # packets in which the first whole picture is looked for
_KNOWS_LENGTH = ("mov", "avi", "mxf", "nut", "asf", "dv")
"""Formats that keep a length of each track; what FFmpeg says of others may be the length of the file."""


def tick_of(stream: av.VideoStream | av.AudioStream) -> Fraction:
    """Length (s) of one tick of a track's clock."""
    return Fraction(stream.time_base or Fraction(1, 1000))


def seek(container: InputContainer, video: av.VideoStream, tick: int) -> None:
    """Stand at the keyframe before `tick` of the video track's clock, or at its first where there is none."""
    begin = int(video.start_time or 0)
    # AVI and MP4 refuse to go before their first keyframe, which may lie behind the start
    for place in (tick, begin):
        try:
            return container.seek(place, stream=video)
        except av.FFmpegError:
            continue
    container.seek(max(tick, begin), stream=video, backward=False)


def packets_of(container: InputContainer, stream: av.VideoStream | av.AudioStream) -> Iterator[av.Packet]:
    """Packets of a track from where the container stands, then an empty one."""
    while True:
        try:
            yield from container.demux(stream)
        except IndexError:  # a track that begins in the middle of a damaged MPEG-TS: PyAV knows none but the first ones
            continue
        return


def picture_start(container: InputContainer, video: av.VideoStream) -> Fraction:
    """Time (s) on the container's clock at which the first picture is displayed that can be decoded.

    Files that were cut without decoding begin with pictures that refer to what was cut off.
    """
    begin = int(video.start_time or 0)
    if container.format.name == "avi":  # keeps no presentation times
        return begin * tick_of(video)
    seek(container, video, begin - int(1 / tick_of(video)))  # MPEG-TS is sought by decoding time
    starts = StartPoints(video.codec_context)
    whole: list[int] = []
    behind = 0
    for number, packet in enumerate(packets_of(container, video)):
        if not packet.size or packet.pts is None:
            continue
        starts.add(packet, packet.pts)
        if not packet.is_discard and starts.start_for(len(starts) - 1, packet.pts) is not None:
            whole.append(packet.pts)
        behind += bool(whole)
        if behind > _MOST_REORDERED or begin in whole or number > _MOST_SEARCHED:
            break
    return min(whole, default=begin) * tick_of(video)


def picture_end(container: InputContainer, video: av.VideoStream) -> Fraction:
    """Time (s) on the container's clock at which the last frame ends; its start where it has none."""
    start = int(video.start_time or 0) * tick_of(video)
    if video.duration and container.format.name.startswith(_KNOWS_LENGTH):
        return start + int(video.duration) * tick_of(video)
    # the file's length may be that of its audio
    if container.duration:
        file_end = Fraction(container.duration + (container.start_time or 0), av.time_base)
        try:
            container.seek(int(max(start, file_end - _TAIL_S) / tick_of(video)), stream=video)
            end = _last_packet_end(container, video)
        except av.FFmpegError:
            end = None
        if end is not None:
            return end
    container.seek(int(start / tick_of(video)), stream=video)
    return _last_packet_end(container, video) or start


def _last_packet_end(container: InputContainer, video: av.VideoStream) -> Fraction | None:
    frame = 1 / Fraction(video.average_rate or 25)
    ends: list[Fraction] = [
        packet.pts * tick_of(video) + (packet.duration * tick_of(video) if packet.duration else frame)
        for packet in packets_of(container, video)
        if packet.pts is not None
    ]
    return max(ends, default=None)
