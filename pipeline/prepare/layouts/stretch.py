"""Stretches of a video that become one sample each: which can be heard, and what to say when none is left."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from pipeline.errors import MediaError
from pipeline.prepare.layouts.sample import level_dbfs
from pipeline.prepare.settings import PrepareSettings
from pipeline.reasons import Reason
from pipeline.sound.audio import Window, read_sections
from pipeline.video.video_file import VideoFile


@dataclass(frozen=True)
class Stretch:
    """A stretch from `start_s` (s from the video's zero) on, with its audio.

    Attributes:
        number: its place among the stretches of the video, those that were left out included.
    """

    number: int
    start_s: Fraction
    window: Window


def audible_stretches(
    video: VideoFile, starts_s: Sequence[Fraction], samples: int, settings: PrepareSettings, most_missing_s: Fraction
) -> tuple[list[Stretch], Counter[str]]:
    """The stretches of `samples` of audio from each of `starts_s`, and how many were left out, by reason."""
    left_out: Counter[str] = Counter()
    stretches = []
    for number, window in enumerate(read_sections(video, starts_s, samples, settings, most_missing_s)):
        if isinstance(window, Reason):
            left_out[window.value] += 1
        elif settings.silence_dbfs is not None and level_dbfs(window.audio) < settings.silence_dbfs:
            left_out[Reason.SILENT.value] += 1
        else:
            stretches.append(Stretch(number, starts_s[number], window))
    return stretches, left_out


def nothing_left(left_out: Mapping[str, int], settings: PrepareSettings) -> MediaError:
    """The error of a video whose stretches were all left out: what is wrong with the file goes before what it holds."""
    count = sum(left_out.values())
    if left_out.get(Reason.DAMAGED.value):
        return MediaError(Reason.DAMAGED, f"none of its {count} stretches could be decoded with all frames and audio")
    if left_out.get(Reason.SHAPE_CHANGES.value):
        return MediaError(Reason.SHAPE_CHANGES, f"its picture changes its shape in the middle of {count} clips")
    if left_out.get(Reason.TOO_SHORT.value):
        return MediaError(
            Reason.TOO_SHORT, f"its audio ends before, begins later or has a hole in each of {count} stretches"
        )
    return MediaError(
        Reason.SILENT, f"the audio of all {count} stretches is below prepare.silence_dbfs, {settings.silence_dbfs:g} dB"
    )
