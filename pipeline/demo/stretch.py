"""A stretch of a video as arrays: what a page shows is worked out as it plays, however long the video is."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from pipeline.api.clip import Clip
from pipeline.errors import MediaError
from pipeline.prepare.settings import PrepareSettings
from pipeline.reasons import Reason
from pipeline.sound.audio import read_windows, sound_extent
from pipeline.video.frames import Frame
from pipeline.video.keyframes import choose_frames
from pipeline.video.picture import upright_pixels
from pipeline.video.video_file import open_video

_HEIGHT = 480
"""Of its frames in pixels, at most; the models see less."""
_UNSURE_S = Fraction(1, 20)
"""Sound may end so much before its file's header says so."""


@dataclass(frozen=True)
class Stretch:
    """What is seen and heard from a moment on.

    Attributes:
        begin_s: seconds from the video's zero.
    """

    clip: Clip
    begin_s: float


def cut_stretch(source: str, begin_s: float, end_s: float, least_s: float, fps: float) -> Stretch:
    """The stretch of a video between two times, s from its zero, as far as it sounds; longer where that is less than
    `least_s`.

    Args:
        fps: frames a second that are taken of it, each the one that is on screen then.

    Raises:
        MediaError: it can't be decoded, or nothing of it sounds.
    """
    with open_video(source) as video:
        first, last = (time - video.zero for time in sound_extent(video))
        end = min(Fraction(end_s), last - _UNSURE_S)
        begin = max(min(Fraction(begin_s), end - Fraction(least_s)), first, Fraction(0))
        rate_hz = video.audio.codec_context.sample_rate
        recipe = PrepareSettings(
            audio_rate_hz=rate_hz,
            audio_samples=max(int((end - begin) * rate_hz), 1),
            channels=1 if video.audio.codec_context.channels == 1 else 2,
        )
        (window,) = read_windows(video, [(begin + end) / 2], recipe, "the video")
        if isinstance(window, Reason):
            raise MediaError(window, f"its sound from {float(begin):.1f} to {float(end):.1f} s can't be had")
        step = 1 / Fraction(fps).limit_denominator(1000)
        times = [begin + number * step for number in range(max(int((end - begin) / step), 1))]
        frames = [one for one in choose_frames(video, times, Fraction(0), step) if isinstance(one, Frame)]
        if not frames:
            raise MediaError(Reason.DAMAGED, f"no frame of it could be decoded from {float(begin):.1f} s on")
        behind = {max(frame.time_s - window.start_s, Fraction(0)): frame for frame in frames}
        pictures = np.stack([upright_pixels(frame, _HEIGHT) for frame in behind.values()])
        shown = [float(time) for time in behind]
    sound = window.audio.astype(np.float32) / 32768
    return Stretch(Clip(pictures, sound, rate_hz, shown), float(window.start_s))
