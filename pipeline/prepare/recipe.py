"""Which moments of a video are wanted."""

import math
from dataclasses import dataclass
from fractions import Fraction

from pipeline.errors import MediaError
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.settings import PrepareSettings
from pipeline.reasons import Reason


@dataclass(frozen=True)
class Part:
    """A part of a video, from `start_s` to `end_s` (s from the video's zero)."""

    start_s: Fraction
    end_s: Fraction

    @property
    def duration_s(self) -> Fraction:
        """Its length (s)."""
        return self.end_s - self.start_s


def part_of(row: VideoRow, duration_s: Fraction, settings: PrepareSettings) -> Part:
    """The part of a video of `duration_s` seconds that its row is about, as far as it is there.

    Raises:
        MediaError: `too_short` where nothing of it is there, less than `settings.min_clip_s`, or not its annotated
            frame.
    """
    start = max(Fraction(0), exact(row.start_s or 0.0))
    end = duration_s if row.end_s is None else min(duration_s, exact(row.end_s))
    if start >= duration_s:
        found = (
            f"expected a video that reaches {float(start):g} s, where its row begins, found {float(duration_s):.2f} s"
        )
        raise MediaError(Reason.TOO_SHORT, found)
    if settings.min_clip_s is not None and end - start < settings.min_clip_s:
        whole = (
            "" if (row.start_s is None and row.end_s is None) else f" in its row's part of {float(duration_s):.2f} s"
        )
        asked = f"expected {settings.min_clip_s:g} s or more, as prepare.min_clip_s asks"
        found = f"{asked}, found {float(max(Fraction(0), end - start)):.2f} s{whole}"
        raise MediaError(Reason.TOO_SHORT, found)
    if row.frame_s is not None and exact(row.frame_s) >= duration_s:
        expected = f"expected a video that reaches {row.frame_s:g} s, where its annotated frame is"
        raise MediaError(Reason.TOO_SHORT, f"{expected}, found {float(duration_s):.2f} s")
    return Part(start, end)


def middle_of(part: Part, settings: PrepareSettings) -> Part:
    """The middle `settings.max_clip_s` of a part; a shorter one is taken whole."""
    length = min(part.duration_s, Fraction(settings.max_clip_s))
    start = part.start_s + (part.duration_s - length) / 2
    return Part(start, start + length)


def wanted_times(part: Part, settings: PrepareSettings) -> list[Fraction]:
    """Times (s from the video's zero) of the frames to take from a part of a video, in order.

    The clip is the middle `max_clip_s` seconds; its frames lie at `arange(margin, clip - margin, period)` with a margin
    of half a period (G-AVT thesis, section 4.3). A clip shorter than that gives its middle.
    """
    taken = middle_of(part, settings)
    clip, start = taken.duration_s, taken.start_s
    period = period_s(settings)
    count = max(0, math.ceil((clip - period) / period))
    times = [start + period / 2 + index * period for index in range(count)] or [start + clip / 2]
    if settings.max_frames is None or len(times) <= settings.max_frames:
        return times
    share = Fraction(len(times), settings.max_frames)
    return [times[int((index + Fraction(1, 2)) * share)] for index in range(settings.max_frames)]


def period_s(settings: PrepareSettings) -> Fraction:
    """Time (s) from one wanted frame to the next."""
    return 1 / exact(settings.frame_rate_hz)


def exact(value: float) -> Fraction:
    """The fraction that a setting means."""
    # 0.2 means a fifth, not the nearest binary fraction, which would make an 18th frame of 90 s
    return Fraction(value).limit_denominator(1_000_000)
