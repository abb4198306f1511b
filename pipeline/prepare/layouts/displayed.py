"""The frame that is seen at each moment, and where a video's picture begins."""

from collections.abc import Iterator, Sequence
from fractions import Fraction

from pipeline.prepare.recipe import Part
from pipeline.video.frames import Frame, read_moments
from pipeline.video.video_file import VideoFile


def displayed_at(video: VideoFile, moments_s: Sequence[Fraction]) -> Iterator[Frame | None]:
    """The frame displayed at each of `moments_s` (s from the video's zero, in order), None where it can't be decoded or
    the file has broken off. Before the first frame that one is taken."""
    begin = video.picture_start_s
    found = read_moments(video, sorted({max(moment, begin) for moment in moments_s}))
    ahead: tuple[Fraction, Frame | None] | None = None
    wanted, frame, begun = None, None, False
    for moment in moments_s:
        if wanted != max(moment, begin):
            wanted, frame = max(moment, begin), None
            ahead = ahead or next(found, None)
            if ahead is not None and ahead[0] == wanted:
                frame, ahead, begun = ahead[1], None, True
            elif ahead is not None and not begun:
                frame = ahead[1]  # AVI begins with a frame of the B-frames' delay, and says nothing of it
        yield frame


def with_picture(part: Part, video: VideoFile) -> Part:
    """The part from where there is a picture."""
    start = max(part.start_s, video.picture_start_s)
    return Part(start, max(start, part.end_s))
