"""Which picture is on screen at a time."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import TypeVar

from pipeline.evaluate.overlay.video_stream import DecodedPicture, Pixels, demux_decoded
from pipeline.video.video_file import VideoFile

_Time = TypeVar("_Time", Fraction, float)


def displayed(video: VideoFile, wanted: Sequence[_Time], most_rows: int) -> Iterator[tuple[_Time, Pixels]]:
    """(time, pixels) of the picture on screen at each wanted time (s from the video's zero, rising), in one pass, until
    the video is over."""
    for time, picture, over in shown(video, wanted):
        if over:
            return
        yield time, picture.pixels(most_rows)


def shown(video: VideoFile, wanted: Sequence[_Time]) -> Iterator[tuple[_Time, DecodedPicture, bool]]:
    """(time, picture on screen, whether the video is over by then) for each wanted time (s from the video's zero,
    rising), in one pass. Before the first picture that one is given, behind the last the last one."""
    waiting = iter(wanted)
    time = next(waiting, None)
    on_screen: DecodedPicture | None = None
    for picture in demux_decoded(video, sound=False):
        while time is not None and on_screen is not None and time < picture.time_s:
            yield time, on_screen, False
            time = next(waiting, None)
        if time is None:
            return
        on_screen = picture
    while time is not None and on_screen is not None:
        # a picture stays on screen for its own length, then the video is over
        yield time, on_screen, time >= on_screen.time_s + 2 * video.frame_s
        time = next(waiting, None)
