"""Which decoded frame is seen at each moment, where frames may be shown longer than from one moment to the next."""

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction

from pipeline.prepare.frames import Frame
from pipeline.prepare.packets import find_runs
from pipeline.prepare.video_file import VideoFile

_MOST_BEHIND = 2
"""Frames by which a damaged one may be replaced: the earlier one stands still that long, and its time says so."""


def displayed_at(frames: Iterable[Frame], times_s: Sequence[Fraction]) -> Iterator[Frame]:
    """The frame displayed at each of `times_s`, out of the `frames` that `read_frames` gave for them.

    Before the first frame that one is taken; nothing comes where there are no frames. Two frames are held at once.
    """
    following = iter(frames)
    shown = upcoming = next(following, None)
    for time in times_s:
        while upcoming is not None and upcoming.time_s <= time:
            shown, upcoming = upcoming, next(following, None)
        if shown is not None:
            yield shown


def is_whole(video: VideoFile, shown: Sequence[tuple[Fraction, Fraction]]) -> bool:
    """Whether no frame stands in for others that could not be decoded, but for two in a row at most.

    A frame that is shown for long may be right (variable frame rate, slides), so the file is asked.

    Args:
        shown: each moment and the time of the frame that was taken for it, in order (s from the video's zero).
    """
    tolerated = _MOST_BEHIND * video.frame_s
    last_moments = {time: moment for moment, time in shown}
    for time, moment in last_moments.items():
        if abs(moment - time) <= tolerated:
            continue
        due = [tick * video.tick_s - video.zero for run in find_runs(video, [moment]) for tick in run.wanted.values()]
        if (due and abs(due[0] - time) > tolerated) or (not due and moment > time):
            return False
    return True
