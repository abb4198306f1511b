"""The frames that a model is given for each moment of a video."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.evaluate.overlay.on_screen import shown
from pipeline.evaluate.overlay.video_stream import DecodedPicture, Pixels
from pipeline.features.frame_times import FrameTimes
from pipeline.features.settings import FeatureSettings, Geometry
from pipeline.samples.metadata import Box
from pipeline.stream.squares import Cut, cut_square
from pipeline.video.video_file import VideoFile

_ROWS = 480
"""Height at which frames are handed to the model's crop, as in the paper's stored frames."""
_LARGEST_DENOMINATOR = 1_000_000
"""Of times in seconds: a third of one is then just that, whatever floats make of it."""


@dataclass(frozen=True)
class FramePlaces:
    """Where frames and sound lie in time beside the middle frame, number T // 2, whose map is wanted.

    Attributes:
        offsets_s: [T] seconds from the middle frame to each.
        lead_s: seconds from the sound's middle to the middle frame; 0 for an odd T.
    """

    offsets_s: list[Fraction]
    lead_s: Fraction

    @classmethod
    def of(cls, features: FeatureSettings) -> "FramePlaces":
        """As they are in training."""
        sound_s = features.audio_samples / features.audio_rate_hz
        times = FrameTimes(features.frames, features.frame_rate_hz, sound_s).offsets_s
        exact = [Fraction(time).limit_denominator(_LARGEST_DENOMINATOR) for time in times]
        lead = exact[features.frames // 2]
        return cls([time - lead for time in exact], lead)

    @property
    def middle(self) -> int:
        """Number of the middle frame."""
        return len(self.offsets_s) // 2

    def sound_middle_s(self, time_s: Fraction) -> Fraction:
        """The middle of the sound that belongs to a moment, not before the video's zero."""
        return max(time_s - self.lead_s, Fraction(0))


@dataclass(frozen=True)
class Moment:
    """A moment of a video.

    Attributes:
        time_s: seconds from the video's zero; the middle frame is on screen then.
        frames: T squares, uint8 [3, K, K] each.
        square: what of the upright middle frame the model sees, `[x1, y1, x2, y2]` in 0–1; beyond it where bars are.
    """

    time_s: Fraction
    frames: list[Tensor]
    square: Box


@dataclass(frozen=True)
class SeenSquare:
    """A picture as the model sees it, and which part of the picture that is."""

    pixels: Tensor
    box: Box


def moments_of(
    video: VideoFile, wanted: Sequence[Fraction], places: FramePlaces, size: int, geometry: Geometry = "centre"
) -> Iterator[Moment]:
    """Each wanted moment (s from the video's zero, rising) until the video is over, in one pass.

    Where a frame would lie before the first picture or behind the last, it is that one. Only the squares that a later
    moment still needs are kept: at most T for each moment within the time from its first frame to its last.

    Args:
        size: K, side of the squares in pixels.
        geometry: how a picture becomes its square.
    """
    due = sorted((time + offset, place) for place, offset in enumerate(places.offsets_s) for time in wanted)
    waiting: list[deque[SeenSquare]] = [deque() for _ in places.offsets_s]
    times = iter(wanted)
    latest: tuple[DecodedPicture, SeenSquare] | None = None
    for (_, place), (_, picture, over) in zip(due, shown(video, [time for time, _ in due]), strict=False):
        if over and place == places.middle:
            continue  # no map of a moment without a picture; what others still need comes after it
        if latest is None or latest[0] is not picture:
            latest = (picture, square_seen(picture.pixels(_ROWS), size, geometry))
        waiting[place].append(latest[1])
        if all(waiting):
            squares = [queue.popleft() for queue in waiting]
            yield Moment(next(times), [one.pixels for one in squares], squares[places.middle].box)


def square_seen(pixels: Pixels, size: int, geometry: Geometry) -> SeenSquare:
    """The square that the model sees, as samples of a shard become one."""
    image, box = cut_square(Image.fromarray(pixels), Cut(geometry), size)
    return SeenSquare(torch.from_numpy(np.array(image).transpose(2, 0, 1).copy()), box)
