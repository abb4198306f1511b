"""Layout `segments`: a sample is the middle frame of each of `n` segments and the audio of them all.

Samples of `n · segment_s` follow each other through the middle `max_clip_s` of the video, or of its row's part. A row
that has an end, or says something of its segments, is one sample from its start. Up to half a segment may be missing at
the end, as it is in many files of "ten seconds": silence fills the audio. The boxes of a sample are of its middle
segment.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import islice

from pipeline.errors import MediaError
from pipeline.prepare.layouts.describe import describe
from pipeline.prepare.layouts.displayed import displayed_at, with_picture
from pipeline.prepare.layouts.row_segments import check_segments, tells_of_segments
from pipeline.prepare.layouts.sample import EncodedSample, PreparedVideo, key_of
from pipeline.prepare.layouts.stretch import audible_stretches, nothing_left
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.recipe import Part, exact, middle_of, part_of
from pipeline.prepare.settings import PrepareSettings
from pipeline.reasons import Reason
from pipeline.sound.audio import Window
from pipeline.sound.flac import encode_flac
from pipeline.video.picture import encode_picture
from pipeline.video.video_file import VideoFile


def make_samples(video: VideoFile, row: VideoRow, settings: PrepareSettings) -> PreparedVideo:
    """The samples of a video.

    Raises:
        MediaError: it gave no sample at all, with the reason.
        ManifestError: the row has labels for another number of segments.
    """
    check_segments(row, settings)
    if row.boxes is None and row.segment_boxes is not None:
        row = replace(row, boxes=row.segment_boxes[settings.segments // 2])
    segment = exact(settings.segment_s)
    length = settings.segments * segment
    one = row.end_s is not None or tells_of_segments(row)
    part = part_of(row, video.duration_s, settings)
    starts = _one(part, segment, video, settings) if one else _several(part, segment, video, settings)
    samples = round(length * settings.audio_rate_hz)
    stretches, left_out = audible_stretches(video, starts, samples, settings, segment / 2)
    middles = [
        stretch.start_s + Fraction(2 * place + 1, 2) * segment
        for stretch in stretches
        for place in range(settings.segments)
    ]
    shown = _pictures(video, middles, settings)
    encoded = []
    for stretch in stretches:
        pictures = [picture for picture in islice(shown, settings.segments) if picture is not None]
        if len(pictures) < settings.segments:
            left_out[Reason.DAMAGED.value] += 1
        else:
            key = f"{key_of(row.video)}_{stretch.number:04d}"
            middle_s = stretch.start_s + Fraction(2 * (settings.segments // 2) + 1, 2) * segment
            located = row.frame_s is None or abs(exact(row.frame_s) - middle_s) <= video.frame_s / 2
            encoded.append(_encode(row, key, pictures, stretch.window, settings, located))
    if not encoded:
        raise nothing_left(left_out, settings)
    return PreparedVideo(encoded, dict(sorted(left_out.items())))


def _one(part: Part, segment: Fraction, video: VideoFile, settings: PrepareSettings) -> list[Fraction]:
    """When the only sample starts (s from the video's zero)."""
    if video.picture_start_s > part.start_s + segment / 2:
        found = (
            f"expected a picture from {float(part.start_s):g} s on, found it from {float(video.picture_start_s):.2f} s"
        )
        raise MediaError(Reason.TOO_SHORT, found)
    _spare(part, segment, settings)
    return [part.start_s]


def _several(part: Part, segment: Fraction, video: VideoFile, settings: PrepareSettings) -> list[Fraction]:
    """When the samples start (s from the video's zero)."""
    taken = middle_of(with_picture(part, video), settings)
    length = settings.segments * segment
    count = math.floor(_spare(taken, segment, settings) / length) + 1
    return [taken.start_s + number * length for number in range(count)]


def _spare(part: Part, segment: Fraction, settings: PrepareSettings) -> Fraction:
    """How much longer (s) the part is than it must be for one sample."""
    enough = (settings.segments - Fraction(1, 2)) * segment
    if part.duration_s < enough:
        asked = f"expected {float(enough):g} s or more, as prepare.segments of prepare.segment_s ask"
        found = f"{asked}, found {float(part.duration_s):.2f} s"
        raise MediaError(Reason.TOO_SHORT, found)
    return part.duration_s - enough


def _pictures(
    video: VideoFile, middles_s: Sequence[Fraction], settings: PrepareSettings
) -> Iterator[tuple[Fraction, bytes] | None]:
    """(true time, JPEG) of the frame displayed at each of `middles_s`; None where it can't be decoded."""
    last: tuple[Fraction, bytes] | None = None
    for frame in displayed_at(video, middles_s):
        if frame is None:
            yield None
            continue
        if last is None or frame.time_s != last[0]:
            last = (frame.time_s, encode_picture(frame, settings.frame_height, settings.jpeg_quality))
        yield last


def _encode(
    row: VideoRow,
    key: str,
    pictures: Sequence[tuple[Fraction, bytes]],
    window: Window,
    settings: PrepareSettings,
    located: bool,
) -> EncodedSample:
    times = [time for time, _ in pictures]
    digits = max(2, len(str(len(pictures) - 1)))
    return EncodedSample(
        key,
        {
            "json": describe("segments", row, times, window, settings.audio_rate_hz, located=located),
            **{f"{place:0{digits}}.jpg": picture for place, (_, picture) in enumerate(pictures)},
            "flac": encode_flac(window.audio, settings.audio_rate_hz),
        },
    )
