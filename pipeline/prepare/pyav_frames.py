"""Decoding a run of packets with PyAV: any codec, every frame with its own time."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt

from pipeline.prepare.packets import Run
from pipeline.prepare.video_file import VideoFile


@dataclass(frozen=True)
class Look:
    """How a frame is to be shown.

    Attributes:
        rotation: counter-clockwise degrees, a multiple of 90, that make it upright.
        pixel_aspect: width of a pixel over its height.
    """

    rotation: int
    pixel_aspect: Fraction
    interlaced: bool
    pixel_format: str


def look_at(video: VideoFile, run: Run) -> Look | None:
    """How the run's frames are to be shown, from its first keyframe; None if that can't be decoded."""
    frame = next(_decoded(video, run.packets[:1]), None)
    return _look_of(video, frame) if frame is not None else None


def decode_with_pyav(video: VideoFile, run: Run) -> Iterator[tuple[int, npt.NDArray[np.uint8], Look]]:
    """(presentation time in ticks, RGB [H, W, 3], look) of the run's wanted frames, in order.

    A damaged frame is left out, and so is a wanted one whose nearest decodable predecessor lies more than two frames
    before it.
    """
    base = video.tick_s
    most_behind = int(2 * video.frame_s / base)
    wanted = sorted(set(run.wanted.values()))
    shown: av.VideoFrame | None = None

    def settled(until: int | None) -> Iterator[tuple[int, npt.NDArray[np.uint8], Look]]:
        while wanted and (until is None or wanted[0] < until):
            target = wanted.pop(0)
            if (
                shown is not None
                and shown.pts is not None
                and shown.pts >= target - most_behind
                and not shown.is_corrupt
            ):
                yield shown.pts, shown.to_ndarray(format="rgb24"), _look_of(video, shown)

    for frame in _decoded(video, run.packets):
        if frame.pts is not None:
            yield from settled(frame.pts)
            shown = frame
    yield from settled(None)


def _decoded(video: VideoFile, packets: list[av.Packet]) -> Iterator[av.VideoFrame]:
    """Frames of the packets in order of presentation; packets that can't be decoded are passed over."""
    codec = video.video.codec_context
    codec.flush_buffers()
    for packet in (*packets, None):
        try:
            yield from codec.decode(packet)
        except av.FFmpegError:
            continue  # what depended on it is missing or marked corrupt, and left out by the caller
    codec.flush_buffers()


def _look_of(video: VideoFile, frame: av.VideoFrame) -> Look:
    return Look(
        rotation=round(frame.rotation / 90) * 90 % 360,
        pixel_aspect=Fraction(video.video.sample_aspect_ratio or 1) or Fraction(1),
        interlaced=bool(frame.interlaced_frame),
        pixel_format=frame.format.name,
    )
