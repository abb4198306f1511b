"""Frames of a video at given times: exact, with their true times."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt

from pipeline.video.bitstream import sequence_header
from pipeline.video.decord_frames import decode_with_decord
from pipeline.video.decord_trust import decord_is_sure
from pipeline.video.packets import find_runs
from pipeline.video.pyav_frames import Look, decode_with_pyav, look_at, look_of
from pipeline.video.upright import Display
from pipeline.video.video_file import VideoFile

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Frame:
    """A decoded frame.

    Attributes:
        time_s: its true presentation time, seconds from the video's zero.
        image: as decoded, before rotation and pixel aspect.
        display: how it is to be turned and stretched for display.
    """

    time_s: Fraction
    image: av.VideoFrame
    display: Display

    @property
    def pixels(self) -> Pixels:
        """RGB [H, W, 3], converted anew each time."""
        return as_array(self.image.reformat(format="rgb24", threads=1))


def as_array(image: av.VideoFrame) -> Pixels:
    """The pixels [H, W, 3] of a frame of the format rgb24, not copied."""
    plane = image.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(image.height, plane.line_size)
    return rows[:, : image.width * 3].reshape(image.height, image.width, 3)


def read_moments(video: VideoFile, times_s: Sequence[Fraction]) -> Iterator[tuple[Fraction, Frame | None]]:
    """Each of `times_s` (s from the video's zero, in order) with the frame displayed then.

    Costs what the stretches from a keyframe to each wanted frame cost, however long the file is. None stands for a
    frame that can't be decoded whole. Times at which no frame is displayed are left out.
    """
    codec = video.video.codec_context
    looks: dict[bytes, Look | None] = {}  # a header of the sequence in the stream may change it
    for run in find_runs(video, times_s):
        by_decord: list[tuple[int, av.VideoFrame]] = []
        look: Look | None = None
        # PyAV has to decode the first picture for its look, so a picture alone stays its own
        if len(run.packets) > 1 and not run.refresh:
            header = sequence_header(run.packets[0], codec.name, codec.extradata)
            if header not in looks:
                looks[header] = look_at(video, run)
            look = looks[header]
            if look is not None and decord_is_sure(video, run, look):
                by_decord = decode_with_decord(video, run)
        moments = sorted(run.wanted)
        for target, image in by_decord or decode_with_pyav(video, run):
            frame: Frame | None = None
            if image is not None:
                shown = look if by_decord and look is not None else look_of(video, image)
                frame = Frame(image.pts * video.tick_s - video.zero, image, shown.display)
            while moments and run.wanted[moments[0]] == target:
                yield moments.pop(0) - video.zero, frame
