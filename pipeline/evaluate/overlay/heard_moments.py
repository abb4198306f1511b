"""Moments of a video with the sound that belongs to them, as a model takes them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from typing import TypeVar

import numpy as np
import torch

from pipeline.errors import MediaError
from pipeline.evaluate.overlay.moments import FramePlaces, moments_of
from pipeline.evaluate.overlay.video_keypoints import FoundKeypoints, VideoKeypoints
from pipeline.features.inputs import FRAMES, SOUND
from pipeline.features.settings import FeatureSettings, Geometry
from pipeline.models.contract import Inputs
from pipeline.prepare.settings import PrepareSettings
from pipeline.reasons import Reason
from pipeline.samples.metadata import Box
from pipeline.sound.audio import read_windows
from pipeline.video.video_file import open_video

_Item = TypeVar("_Item")
EDGE_S = 0.05
"""By which a picture may lie beside the sound and still belong to it: about that of a frame."""
_AT_ONCE = 16
"""Moments whose sound is decoded together; more would hold more of the track in memory."""


@dataclass(frozen=True)
class HeardMoments:
    """Some moments of a video in order.

    Attributes:
        times_s: [B] seconds from the video's zero, rising.
        inputs: `frames` [B, T, 3, K, K] in 0–1, the middle one that of the moment, `sound` [B, C, S] in −1..1, and the
            keypoints of features that have such.
        square: what of the upright frame the model sees, `[x1, y1, x2, y2]` in 0–1; beyond it where bars are.
        duration_s: of the video.
        sound_repeated: the video has less sound than the model hears at once, and it is repeated.
    """

    times_s: list[float]
    inputs: Inputs
    square: Box
    duration_s: float
    sound_repeated: bool


def heard_moments(
    source: str,
    spans: Sequence[tuple[float, float]],
    features: FeatureSettings,
    every_s: float,
    device: torch.device,
    geometry: Geometry,
    keypoints: FoundKeypoints | None = None,
) -> Iterator[HeardMoments]:
    """Moments every `every_s` seconds: the frame then displayed, the model's other frames around it, and the sound that
    belongs to them in training. At the ends of the video frames stop and sound is what lies nearest; sound that is
    shorter than the model hears at once is repeated before and behind itself. Moments without sound, before it begins,
    after it ends or in a hole of it, are left out.

    Args:
        spans: begin and end of each stretch of sound, as of `sound_spans`.
        keypoints: of the persons in the video, for features that have inputs of them.

    Raises:
        MediaError: the video can't be read, or no moment of it has sound.
    """
    recipe = PrepareSettings(
        audio_rate_hz=features.audio_rate_hz, audio_samples=features.audio_samples, channels=features.audio_channels
    )
    places, persons = FramePlaces.of(features), VideoKeypoints(source, features, keypoints)
    unheard: set[Reason] = set()
    found = False
    with open_video(source) as pictures_from, open_video(source) as sound_from:
        duration = pictures_from.duration_s
        step = whole_step(every_s)
        wanted = [index * step for index in range(int(duration / step) + 1) if index * step < duration]
        for shown in _in_groups(moments_of(pictures_from, wanted, places, features.frame_size, geometry), _AT_ONCE):
            middles_s = [places.sound_middle_s(moment.time_s) for moment in shown]
            windows = read_windows(sound_from, middles_s, recipe, repeat=True)
            pairs = zip(shown, windows, strict=True)
            heard = [
                (moment, window)
                for moment, window in pairs
                if not isinstance(window, Reason) and span_at(spans, float(moment.time_s)) is not None
            ]
            unheard.update(window for window in windows if isinstance(window, Reason))
            if not heard:
                continue
            found = True
            frames = torch.stack([torch.stack(moment.frames) for moment, _ in heard])
            audio = np.stack([window.audio.astype(np.float32) / 32768.0 for _, window in heard])
            middles = [float(places.sound_middle_s(moment.time_s)) for moment, _ in heard]
            inputs = {FRAMES: frames.to(device).float() / 255, SOUND: torch.from_numpy(audio).to(device)}
            inputs |= persons.inputs(middles, [moment.square for moment, _ in heard], device)
            times = [float(moment.time_s) for moment, _ in heard]
            yield HeardMoments(times, inputs, heard[0][0].square, float(duration), heard[0][1].repeated)
    if not found and unheard <= {Reason.TOO_SHORT}:
        raise MediaError(Reason.TOO_SHORT, "its sound begins after its last frame, ends before its first or has holes")
    if not found:
        raise MediaError(Reason.DAMAGED, "no frame of it could be decoded together with its sound")


def whole_step(every_s: float) -> Fraction:
    """A step of seconds as people mean it: a third is just that, whatever floats make of it."""
    return Fraction(every_s).limit_denominator(1000)


def span_at(spans: Sequence[tuple[float, float]], time_s: float) -> int | None:
    """Number of the stretch of sound at a time; None where there is none."""
    inside = (number for number, (begin, end) in enumerate(spans) if begin - EDGE_S <= time_s <= end + EDGE_S)
    return next(inside, None)


def _in_groups(items: Iterator[_Item], size: int) -> Iterator[list[_Item]]:
    while group := list(islice(items, size)):
        yield group
