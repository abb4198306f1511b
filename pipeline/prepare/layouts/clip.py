"""Layout `clip`: a sample is a short MP4 of constant frame rate and the audio that belongs to it.

Clips of `clip_s` follow each other through the middle `max_clip_s` of the video, or of its row's part; a rest is left
out. A row that has an end is one clip of just its part; without `clip_s` the middle of each video is one.

Frame n of a clip is the one that the source shows at `start + (n + 1/2) / fps`, the middle of the time that the clip
shows it: rounded times of the source then never make a frame come twice. The JSON has each frame's true time. Clip and
audio begin at `start` and last `frames / fps`.
"""

import math
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice

import av
import numpy as np

from pipeline.errors import MediaError
from pipeline.prepare.layouts.describe import describe
from pipeline.prepare.layouts.displayed import displayed_at, with_picture
from pipeline.prepare.layouts.sample import EncodedSample, PreparedVideo, key_of
from pipeline.prepare.layouts.stretch import audible_stretches, nothing_left
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.recipe import Part, exact, middle_of, part_of
from pipeline.prepare.settings import PrepareSettings
from pipeline.reasons import Reason
from pipeline.sound.flac import encode_flac
from pipeline.video.clip import ClipEncoder, convert
from pipeline.video.frames import Frame, as_array
from pipeline.video.picture import stored_size
from pipeline.video.video_file import VideoFile

_MOST_MISSING_S = Fraction(1, 4)
"""Sound often begins a little after the picture and ends a little before it: so much (s) of a clip may be silence."""


def make_samples(video: VideoFile, row: VideoRow, settings: PrepareSettings) -> PreparedVideo:
    """The clips of a video. Frames go from the decoder to the encoder one by one, so long clips take no more memory.

    Raises:
        MediaError: it gave no sample at all, with the reason.
    """
    fps = exact(settings.clip_fps)
    part = part_of(row, video.duration_s, settings)
    if row.end_s is not None:
        starts, frames = _one(part, fps, video)
    elif settings.clip_s is None:
        starts, frames = _one(middle_of(with_picture(part, video), settings), fps, video)
    else:
        starts, frames = _several(part, fps, video, settings, exact(settings.clip_s))
    samples = round(frames / fps * settings.audio_rate_hz)
    stretches, left_out = audible_stretches(video, starts, samples, settings, _MOST_MISSING_S)
    moments = [stretch.start_s + Fraction(2 * n + 1, 2) / fps for stretch in stretches for n in range(frames)]
    shown = displayed_at(video, moments)
    encoded = []
    for stretch in stretches:
        clip = _encode(islice(shown, frames), fps, settings)
        if isinstance(clip, Reason):
            left_out[clip.value] += 1
            continue
        content, times = clip
        end_s = stretch.start_s + frames / fps
        located = row.frame_s is None or stretch.start_s <= exact(row.frame_s) < end_s
        files = {
            "json": describe("clip", row, times, stretch.window, settings.audio_rate_hz, settings.clip_fps, located),
            "mp4": content,
            "flac": encode_flac(stretch.window.audio, settings.audio_rate_hz),
        }
        encoded.append(EncodedSample(f"{key_of(row.video)}_{stretch.number:04d}", files))
    if not encoded:
        raise nothing_left(left_out, settings)
    return PreparedVideo(encoded, dict(sorted(left_out.items())))


def _one(part: Part, fps: Fraction, video: VideoFile) -> tuple[list[Fraction], int]:
    """When the clip of just this part starts (s from the video's zero), and how many frames it has."""
    if video.picture_start_s > part.start_s + _MOST_MISSING_S:
        found = (
            f"expected a picture from {float(part.start_s):g} s on, found it from {float(video.picture_start_s):.2f} s"
        )
        raise MediaError(Reason.TOO_SHORT, found)
    return [part.start_s], max(1, math.floor(part.duration_s * fps))


def _several(
    part: Part, fps: Fraction, video: VideoFile, settings: PrepareSettings, length: Fraction
) -> tuple[list[Fraction], int]:
    """When the clips of `length` seconds start (s from the video's zero), and how many frames each has."""
    frames = max(1, math.floor(length * fps))
    taken = middle_of(with_picture(part, video), settings)
    spare = taken.duration_s - (frames - Fraction(1, 2)) / fps
    if spare < 0:
        asked = f"expected a clip of {float(length):g} s or more, as prepare.clip_s asks"
        raise MediaError(Reason.TOO_SHORT, f"{asked}, found {float(taken.duration_s):.2f} s")
    return [taken.start_s + number * length for number in range(math.floor(spare / length) + 1)], frames


def _encode(
    frames: Iterator[Frame | None], fps: Fraction, settings: PrepareSettings
) -> tuple[bytes, list[Fraction]] | Reason:
    """MP4 of all `frames` and their true times; `damaged` if one of them is missing, `shape_changes` if they don't have
    all the same width for their height."""
    encoder: ClipEncoder | None = None
    shape = (0, 0)
    times: list[Fraction] = []
    for frame in frames:
        image = None if frame is None else _upright(frame, settings.frame_height)
        if image is not None and encoder is None:
            shape = image.width, image.height
            encoder = ClipEncoder(_even(image.width), _even(image.height), fps, settings.clip_crf)
        if frame is None or image is None or encoder is None or not _alike(shape, (image.width, image.height)):
            deque(frames, maxlen=0)  # the next clip's frames follow
            return Reason.DAMAGED if frame is None else Reason.SHAPE_CHANGES
        encoder.add(image)
        times.append(frame.time_s)
    return Reason.DAMAGED if encoder is None else (encoder.finish(), times)


def _alike(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether two pictures of these widths and heights differ in size alone: by no more than a pixel once one is scaled
    to the other."""
    (width, height), (wide, high) = sorted((one, other))
    return abs(wide * height - width * high) <= wide + high


def _upright(frame: Frame, height: int) -> av.VideoFrame:
    """The frame as it is to be seen: square pixels, at most `height` of them high."""
    width, rows = stored_size(frame.image.width, frame.image.height, frame.display, height)
    moves = frame.display.moves_pixels
    image = convert(frame.image, width, rows, "rgb24" if moves else "yuv420p")
    if not moves:
        return image
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(frame.display.upright(as_array(image))), format="rgb24")


def _even(side: int) -> int:
    """The even number of pixels below, as 4:2:0 needs it."""
    return max(2, side - side % 2)
