"""Layout `frame`: a sample is one frame and the audio around its true time."""

from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction

from pipeline.errors import MediaError
from pipeline.prepare.layouts.describe import describe
from pipeline.prepare.layouts.sample import EncodedSample, PreparedVideo, key_of, level_dbfs
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.recipe import exact, part_of, period_s, wanted_times
from pipeline.prepare.settings import PrepareSettings
from pipeline.reasons import Reason
from pipeline.sound.audio import read_windows, sound_extent
from pipeline.sound.flac import encode_flac
from pipeline.video.keyframes import choose_frames
from pipeline.video.picture import encode_picture
from pipeline.video.video_file import VideoFile

_MOST_MISSING_S = Fraction(1, 4)
"""The picture often ends a little before the sound."""
_REFUSES = "prepare.short_sound=refuse"


def make_samples(video: VideoFile, row: VideoRow, settings: PrepareSettings) -> PreparedVideo:
    """The wanted frames of a video and the audio around each.

    Raises:
        MediaError: it gave no sample at all, with the reason.
    """
    _check_length(video, settings)
    part = part_of(row, video.duration_s, settings)
    if row.frame_s is None:
        times, snap_s, reach_s = wanted_times(part, settings), exact(settings.snap_s), period_s(settings) / 2
    else:
        times, snap_s, reach_s = [exact(row.frame_s)], Fraction(0), Fraction(0)
    left_out: Counter[str] = Counter()
    pictures: dict[Fraction, bytes] = {}
    for chosen in choose_frames(video, times, snap_s, reach_s):
        if isinstance(chosen, Reason):
            left_out[chosen.value] += 1
        else:
            pictures[chosen.time_s] = encode_picture(chosen, settings.frame_height, settings.jpeg_quality)
    moments = sorted(pictures)
    samples = []
    unheard = 0
    repeated = False
    windows = read_windows(video, moments, settings, _REFUSES, repeat=settings.short_sound == "repeat")
    for index, (time, window) in enumerate(zip(moments, windows, strict=True)):
        if isinstance(window, Reason):
            left_out[window.value] += 1
            unheard += window is Reason.TOO_SHORT
        elif settings.silence_dbfs is not None and level_dbfs(window.audio) < settings.silence_dbfs:
            left_out[Reason.SILENT.value] += 1
        else:
            files = {
                "json": describe("frame", row, [time], window, settings.audio_rate_hz),
                "jpg": pictures[time],
                "flac": encode_flac(window.audio, settings.audio_rate_hz),
            }
            samples.append(EncodedSample(f"{key_of(row.video)}_{index:04d}", files))
            repeated |= window.repeated
    if not samples:
        raise _nothing_left(left_out, moments, bool(unheard), settings)
    return PreparedVideo(samples, dict(sorted(left_out.items())), repeated)


def _check_length(video: VideoFile, settings: PrepareSettings) -> None:
    """The picture of a video lasts as long as the sound of a sample, or as its own where that is repeated, whatever its
    row is about, unless `min_clip_s` says how long it is."""
    if settings.min_clip_s is not None:
        return
    begin, end = sound_extent(video)
    least, asked = exact(settings.window_s), "prepare.audio_samples asks"
    if end - begin < least:
        repeats = settings.short_sound == "repeat"
        least, asked = (end - begin, "its sound lasts") if repeats else (least, f"{_REFUSES} asks")
    if video.duration_s < least - _MOST_MISSING_S:
        expected = f"expected {float(least):.2f} s of picture or more, as {asked}"
        raise MediaError(Reason.TOO_SHORT, f"{expected}, found {float(video.duration_s):.2f} s")


def _nothing_left(
    left_out: Mapping[str, int], moments: Sequence[Fraction], unheard: bool, settings: PrepareSettings
) -> MediaError:
    """The error of a video without samples: what is wrong with the file goes before what it holds.

    Args:
        moments: when the frames are displayed that could be decoded.
        unheard: some of them have no sound around them.
    """
    if left_out.get(Reason.DAMAGED.value) and moments:
        return MediaError(Reason.DAMAGED, "no whole window of audio could be decoded around any of its frames")
    if left_out.get(Reason.DAMAGED.value):
        return MediaError(Reason.DAMAGED, f"none of its {sum(left_out.values())} wanted frames could be decoded")
    if left_out.get(Reason.SILENT.value):
        return MediaError(
            Reason.SILENT, f"the audio around all frames is below prepare.silence_dbfs, {settings.silence_dbfs:g} dB"
        )
    if unheard:
        frames = f"its frames, from {float(moments[0]):.2f} to {float(moments[-1]):.2f} s"
        found = "none: its audio begins later, ends before or has a hole there"
        expected = f"expected {settings.window_s:.2f} s of audio around one of {frames}, found {found}"
        return MediaError(Reason.TOO_SHORT, expected)
    return MediaError(Reason.TOO_SHORT, "its picture begins behind the last wanted moment")
