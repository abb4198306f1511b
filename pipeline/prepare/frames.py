"""Frames of a video at given times: exact, upright, with their true times."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from pipeline.prepare.decord_frames import decode_with_decord
from pipeline.prepare.packets import Run, find_runs
from pipeline.prepare.pyav_frames import Look, decode_with_pyav, look_at
from pipeline.prepare.trust import decord_is_sure
from pipeline.prepare.video_file import VideoFile

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Frame:
    """A decoded frame.

    Attributes:
        time_s: its true presentation time, seconds from the video's zero.
        pixels: RGB [H, W, 3] as coded, before rotation and pixel aspect.
        look: how it is to be turned and stretched for display.
    """

    time_s: Fraction
    pixels: Pixels
    look: Look


def read_frames(video: VideoFile, times_s: Sequence[Fraction]) -> Iterator[Frame]:
    """The frame displayed at each of `times_s` (s from the video's zero, in order); the same frame comes once.

    Costs what the stretches from a keyframe to each wanted frame cost, however long the file is. Frames that can't be
    decoded whole are left out.
    """
    base = video.tick_s
    last: int | None = None
    for run in find_runs(video, times_s):
        for tick, pixels, look in _decode(video, run):
            if tick != last:
                yield Frame(tick * base - video.zero, pixels, look)
            last = tick


def _decode(video: VideoFile, run: Run) -> Iterator[tuple[int, Pixels, Look]]:
    """(presentation time in ticks, pixels, look) of the run's wanted frames, in order."""
    look = look_at(video, run)
    if look is not None and decord_is_sure(video, run, look):
        by_decord = decode_with_decord(video, run)
        for tick, pixels in by_decord:
            yield tick, pixels, look
        if by_decord:
            return
    yield from decode_with_pyav(video, run)
