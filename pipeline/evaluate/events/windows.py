"""A video of any length in windows of as many segments as a model is shown at once."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import floor

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import MediaError
from pipeline.evaluate.overlay.moments import SeenSquare, square_seen
from pipeline.evaluate.overlay.on_screen import shown
from pipeline.features.inputs import FRAMES, SOUND
from pipeline.features.settings import FeatureSettings, Geometry
from pipeline.models.contract import Inputs
from pipeline.prepare.settings import PrepareSettings
from pipeline.reasons import Reason
from pipeline.samples.metadata import Box
from pipeline.sound.audio import read_sections
from pipeline.video.video_file import open_video

_ROWS = 480
"""Height at which frames are handed to the model's crop."""


@dataclass(frozen=True)
class Window:
    """Some consecutive segments of a video.

    Attributes:
        first: number of the first one, counted from the video's zero.
        inputs: `frames` [T, 3, K, K] in 0–1, each from the middle of a segment, and `sound` [C, S] in −1..1.
        square: what of the upright frame the model sees, `[x1, y1, x2, y2]` in 0–1; beyond it where bars are.
    """

    first: int
    inputs: Inputs
    square: Box


@dataclass(frozen=True)
class Segments:
    """How a video is cut.

    Attributes:
        length_s: of a segment, as in training.
        count: of the video; a last one is counted of which at least half is there.
        at_once: T, that the model is shown.
    """

    length_s: Fraction
    count: int
    at_once: int

    @classmethod
    def of(cls, duration_s: Fraction, features: FeatureSettings) -> "Segments":
        """Of a video of that length."""
        length = Fraction(features.audio_samples, features.audio_rate_hz * features.frames)
        return cls(length, max(floor(duration_s / length + Fraction(1, 2)), 1), features.frames)

    @property
    def windows(self) -> list[int]:
        """The first segment of each window: half a window apart, the last one as late as it fits. Of a video that is
        shorter than a window there is one, which reaches beyond its end."""
        last = max(self.count - self.at_once, 0)
        return [*range(0, last, max(self.at_once // 2, 1)), last]


def windows_of(source: str, features: FeatureSettings, geometry: Geometry) -> Iterator[tuple[Segments, Window]]:
    """The windows of a video in order, in one pass over its pictures. Where there is no picture yet, or no more, it is
    the nearest; where the sound has not begun, or is over, it is silent. Windows whose sound has a hole are left out.

    Raises:
        MediaError: the source is no video with sound, or nothing of it can be decoded.
    """
    recipe = PrepareSettings(
        audio_rate_hz=features.audio_rate_hz, audio_samples=features.audio_samples, channels=features.audio_channels
    )
    found = False
    with open_video(source) as pictures_from, open_video(source) as sound_from:
        segments = Segments.of(pictures_from.duration_s, features)
        middles = [(number + Fraction(1, 2)) * segments.length_s for number in range(segments.count)]
        squares: deque[SeenSquare] = deque(maxlen=segments.at_once)
        firsts = deque(segments.windows)
        for number, (_, picture, _) in enumerate(shown(pictures_from, middles)):
            squares.append(square_seen(picture.pixels(_ROWS), features.frame_size, geometry))
            if number + 1 < min(firsts[0] + segments.at_once, segments.count):
                continue
            first = firsts.popleft()
            start = first * segments.length_s
            whole = Fraction(features.audio_samples, features.audio_rate_hz)
            (section,) = read_sections(sound_from, [start], features.audio_samples, recipe, whole)
            if isinstance(section, Reason):
                continue
            found = True
            yield segments, Window(first, _inputs(list(squares), section.audio, segments), squares[0].box)
    if not found:
        raise MediaError(Reason.DAMAGED, "no picture of it could be decoded together with its sound")


def _inputs(squares: list[SeenSquare], audio: np.ndarray[tuple[int, int], np.dtype[np.int16]], cut: Segments) -> Inputs:
    frames: list[Tensor] = [square.pixels for square in squares]
    frames += [frames[-1]] * (cut.at_once - len(frames))
    sound = torch.from_numpy(audio.astype(np.float32) / 32768)
    return {FRAMES: torch.stack(frames).float() / 255, SOUND: sound}
