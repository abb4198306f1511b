"""Decoding a run of packets with PyAV: any codec, every frame with its own time, none that FFmpeg had to patch."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import av

from pipeline.video.packets import PacketRun, presentation_time
from pipeline.video.upright import Display, display_of
from pipeline.video.video_file import VideoFile

_MISSING = "Missing reference picture"  # FFmpeg's words


@dataclass(frozen=True)
class Look:
    """What a frame looks like before it is made upright.

    Attributes:
        display: how it is to be turned and stretched for display.
    """

    display: Display
    interlaced: bool
    pixel_format: str


def look_at(video: VideoFile, run: PacketRun) -> Look | None:
    """What the run's frames look like, from its first picture; None if that can't be decoded."""
    frame = next(_decoded(video, run.packets[:1]), None)
    return look_of(video, frame) if frame is not None else None


def look_of(video: VideoFile, frame: av.VideoFrame) -> Look:
    """What a frame looks like that PyAV decoded just now."""
    display = display_of(frame, video.pixel_aspects.of(frame))
    return Look(display, bool(frame.interlaced_frame), frame.format.name)


def decode_with_pyav(video: VideoFile, run: PacketRun) -> Iterator[tuple[int, av.VideoFrame | None]]:
    """(wanted presentation time in ticks, frame with its own) of all the run's wanted frames, in order.

    None stands for a damaged frame. One whose nearest whole predecessor lies at most two frames before it is replaced
    by that one.
    """
    most_behind = int(2 * video.frame_s / video.tick_s)
    for target, frame in _displayed(video, run, sorted(set(run.wanted.values()))):
        yield target, frame if frame is not None and (frame.pts or 0) >= target - most_behind else None


def _displayed(video: VideoFile, run: PacketRun, wanted: Sequence[int]) -> Iterator[tuple[int, av.VideoFrame | None]]:
    """(wanted tick, frame displayed then) in order; None where none was decoded, or a damaged one."""
    waiting = list(wanted)
    shown: av.VideoFrame | None = None
    for frame in _decoded(video, run.packets, run.refresh):
        if frame.pts is None:
            continue
        while waiting and waiting[0] < frame.pts:
            yield waiting.pop(0), shown
        shown = None if frame.is_corrupt else frame
    for tick in waiting:
        yield tick, shown


def _decoded(video: VideoFile, packets: Sequence[av.Packet], refresh: int = 0) -> Iterator[av.VideoFrame]:
    """Frames of the packets in order of presentation, up to the first error.

    FFmpeg patches damaged pictures and goes on with them, and only its log says so. What is decoded later may build on
    them. Only in the first `refresh` packets pictures may refer to what isn't there.
    """
    frames = _until_error(video, packets, refresh)
    if not video.has_no_times:
        yield from frames
        return
    ticks = sorted(packet.dts for packet in packets if packet.dts is not None)
    for tick, frame in zip(ticks, frames, strict=False):
        frame.pts = tick
        yield frame


def _until_error(video: VideoFile, packets: Sequence[av.Packet], refresh: int) -> Iterator[av.VideoFrame]:
    codec = video.video.codec_context
    codec.flush_buffers()
    spoilt: int | None = None
    with _counting_errors():
        for number, packet in enumerate(packets):
            video.pixel_aspects.see(packet)
            before, _ = av.logging.get_last_error()
            try:
                frames = codec.decode(packet)
            except av.FFmpegError:
                frames = []
                failed = True
            else:
                count, said = av.logging.get_last_error()
                failed = count > before and not (number < refresh and said is not None and _MISSING in said[2])
            if failed:
                spoilt = presentation_time(packet)
                yield from (frame for frame in frames if frame.pts != spoilt)
                break
            yield from frames
        try:
            last = codec.decode(None)
        except av.FFmpegError:
            last = []
    codec.flush_buffers()
    yield from (frame for frame in last if frame.pts != spoilt)


@contextmanager
def _counting_errors() -> Iterator[None]:
    """Makes PyAV count what FFmpeg logs as an error, without printing it."""
    level = av.logging.get_level()
    if level is None:
        av.logging.set_level(av.logging.PANIC)
    try:
        yield
    finally:
        av.logging.set_level(level)
