"""Layout `clip`: a sample is a short MP4 of constant frame rate and the audio that belongs to it.

Clips of `clip_s` follow each other through the middle `max_clip_s` of the video, or of its row's part; a rest is left
out. A row that has an end is one clip of just its part.

Frame n of a clip is the one that the source shows at `start + (n + 1/2) / fps`, the middle of the time that the clip
shows it: rounded times of the source then never make a frame come twice. The JSON has each frame's true time. Clip and
audio begin at `start` and last `frames / fps`.
"""

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import islice

import numpy as np

from pipeline.errors import MediaError
from pipeline.prepare.frames import Frame, read_frames
from pipeline.prepare.layouts.describe import describe
from pipeline.prepare.layouts.displayed import displayed_at, is_whole
from pipeline.prepare.layouts.sample import EncodedSample, PreparedVideo, key_of
from pipeline.prepare.layouts.stretch import audible_stretches, nothing_left
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.picture import stored_size
from pipeline.prepare.reasons import Reason
from pipeline.prepare.recipe import Part, exact, middle_of, part_of
from pipeline.prepare.settings import PrepareSettings
from pipeline.prepare.video_file import VideoFile
from pipeline.samples.clip import ClipEncoder
from pipeline.samples.flac import encode_flac

_MOST_MISSING_S = Fraction(1, 4)
"""Sound often begins a little after the picture and ends a little before it: so much (s) of a clip may be silence."""


def make_samples(video: VideoFile, row: VideoRow, settings: PrepareSettings) -> PreparedVideo:
    """The clips of a video. Frames go from the decoder to the encoder one by one, so long clips take no more memory.

    Raises:
        MediaError: it gave no sample at all, with the reason.
    """
    fps = exact(settings.clip_fps)
    starts, frames = _plan(part_of(row, video.duration_s, settings), row.end_s is not None, fps, settings)
    samples = round(frames / fps * settings.audio_rate_hz)
    stretches, left_out = audible_stretches(video, starts, samples, settings, _MOST_MISSING_S)
    moments = [[stretch.start_s + Fraction(2 * n + 1, 2) / fps for n in range(frames)] for stretch in stretches]
    # whether a clip is whole is asked of the file behind the last frame, since it can't be in two places at once
    clips = list(_encode(video, moments, fps, settings))
    encoded = []
    for stretch, wanted, (content, times) in zip(stretches, moments, clips, strict=False):
        if is_whole(video, list(zip(wanted, times, strict=True))):
            files = {
                "json": describe("clip", row, times, stretch.window, settings.audio_rate_hz, settings.clip_fps),
                "mp4": content,
                "flac": encode_flac(stretch.window.audio, settings.audio_rate_hz),
            }
            encoded.append(EncodedSample(f"{key_of(row.video)}_{stretch.number:04d}", files))
    if len(encoded) < len(stretches):
        left_out[Reason.DAMAGED.value] += len(stretches) - len(encoded)
    if not encoded:
        raise nothing_left(left_out, settings)
    return PreparedVideo(encoded, dict(sorted(left_out.items())))


def _plan(part: Part, one: bool, fps: Fraction, settings: PrepareSettings) -> tuple[list[Fraction], int]:
    """When the clips start (s from the video's zero), and how many frames each has."""
    if one:
        return [part.start_s], max(1, math.floor(part.duration_s * fps))
    length = exact(settings.clip_s)
    frames = max(1, math.floor(length * fps))
    taken = middle_of(part, settings)
    spare = taken.duration_s - (frames - Fraction(1, 2)) / fps
    if spare < 0:
        found = f"expected a clip of {settings.clip_s:g} s or more, found {float(taken.duration_s):.2f} s"
        raise MediaError(Reason.TOO_SHORT, found)
    return [taken.start_s + number * length for number in range(math.floor(spare / length) + 1)], frames


def _encode(
    video: VideoFile, moments_s: Sequence[Sequence[Fraction]], fps: Fraction, settings: PrepareSettings
) -> Iterator[tuple[bytes, list[Fraction]]]:
    """MP4 and true times of its frames, for the moments of each clip; nothing where no frame could be decoded."""
    every = [moment for moments in moments_s for moment in moments]
    shown = displayed_at(read_frames(video, every), every)
    for moments in moments_s:
        encoder: ClipEncoder | None = None
        times: list[Fraction] = []
        for frame in islice(shown, len(moments)):
            encoder = encoder or _encoder_for(frame, fps, settings)
            encoder.add(np.rot90(frame.pixels, frame.look.rotation // 90))
            times.append(frame.time_s)
        if encoder is not None:
            yield encoder.finish(), times


def _encoder_for(frame: Frame, fps: Fraction, settings: PrepareSettings) -> ClipEncoder:
    """An encoder for a clip that begins with `frame`: upright, square pixels, an even number of them both ways."""
    rows, width = frame.pixels.shape[:2]
    size = stored_size(width, rows, frame.look, settings.frame_height)
    wide, high = reversed(size) if frame.look.rotation in (90, 270) else size
    return ClipEncoder(max(2, wide - wide % 2), max(2, high - high % 2), fps, settings.clip_crf)
