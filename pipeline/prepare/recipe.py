"""Which moments of a video are wanted."""

import math
from fractions import Fraction

from pipeline.prepare.settings import PrepareSettings


def wanted_times(duration_s: Fraction, settings: PrepareSettings) -> list[Fraction]:
    """Times (s from the video's zero) of the frames to take from a video of `duration_s` seconds, in order.

    The clip is the middle `max_clip_s` seconds; its frames lie at `arange(margin, clip - margin, period)` with a margin
    of half a period (G-AVT thesis, section 4.3). A clip shorter than that gives its middle.
    """
    clip = min(duration_s, Fraction(settings.max_clip_s))
    start = (duration_s - clip) / 2
    # limit_denominator: 0.2 means a fifth, not the nearest binary fraction, which would make an 18th frame of 90 s
    period = 1 / Fraction(settings.frame_rate_hz).limit_denominator(1_000_000)
    count = max(0, math.ceil((clip - period) / period))
    times = [start + period / 2 + index * period for index in range(count)] or [start + clip / 2]
    if settings.max_frames is None or len(times) <= settings.max_frames:
        return times
    share = Fraction(len(times), settings.max_frames)
    return [times[int((index + Fraction(1, 2)) * share)] for index in range(settings.max_frames)]
