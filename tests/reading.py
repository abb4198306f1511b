"""Frames of a video, read for tests."""

from collections.abc import Iterator, Sequence
from fractions import Fraction

from pipeline.video.frames import Frame, read_moments
from pipeline.video.video_file import VideoFile


def read_frames(video: VideoFile, times_s: Sequence[Fraction]) -> Iterator[Frame]:
    """The frame displayed at each of `times_s`; the same frame comes once, what can't be decoded not at all."""
    last: Fraction | None = None
    for _, frame in read_moments(video, times_s):
        if frame is not None and frame.time_s != last:
            yield frame
            last = frame.time_s
