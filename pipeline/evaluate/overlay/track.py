"""The maps of a video over time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch

from pipeline.errors import MediaError
from pipeline.evaluate.metrics.resize import Centres, Map
from pipeline.evaluate.overlay.moments import FramePlaces, moments_of
from pipeline.evaluate.overlay.sound_spans import sound_spans
from pipeline.evaluate.readouts.readout import Readout
from pipeline.features.settings import FeatureSettings, Geometry
from pipeline.models.contract import Inputs
from pipeline.prepare.settings import PrepareSettings
from pipeline.reasons import Reason
from pipeline.samples.metadata import Box
from pipeline.sound.audio import read_windows
from pipeline.tasks.task import System
from pipeline.video.video_file import open_video

_Item = TypeVar("_Item")
_EDGE_S = 0.05
"""By which a picture may lie beside the sound and still belong to it: about that of a frame."""
_AT_ONCE = 16
"""Moments whose sound is decoded together; more would hold more of the track in memory."""


@dataclass(frozen=True)
class MapTrack:
    """Maps at moments of a video.

    Attributes:
        times_s: [T] seconds from the video's zero, rising.
        maps: [T, h, w] as the readout gives them.
        match: [T] probability that sound and frame belong together, as the model sees it; 1 where its objective gives
            no such answer.
        sound_s: begin and end of each stretch of sound, in order, s from the video's zero.
        every_s: between two wanted moments; a moment without sound has no map.
        square: where in the upright frame the maps lie, `[x1, y1, x2, y2]` in 0–1; beyond it where bars are.
        centres: where in the square the values of the maps lie; None: evenly.
    """

    times_s: npt.NDArray[np.float64]
    maps: Map
    match: npt.NDArray[np.float64]
    square: Box
    sound_s: Sequence[tuple[float, float]]
    every_s: float
    centres: Centres | None = None

    def heat(self, time_s: float) -> Map | None:
        """The map [h, w] at any time, in 0–1: each is scaled to its own upper half, and between two moments they are
        blended. None where there is no sound, or none that the model could be given."""
        blended: Map | None = None
        for place, share in self._near(time_s):
            part = np.float32(share) * unit_range(self.maps[place])
            blended = part if blended is None else blended + part
        return blended

    def match_at(self, time_s: float) -> float:
        """The probability of a match at any time; none where there is no map, or the model's answer is not finite."""
        return float(sum(share * np.nan_to_num(self.match[place]) for place, share in self._near(time_s)))

    def _near(self, time_s: float) -> list[tuple[int, float]]:
        """The moments of the same stretch of sound that a time lies between, or beside, and the share of each. A moment
        stands for no more than the time to the next one."""
        span = _span_at(self.sound_s, time_s)
        after = int(np.searchsorted(self.times_s, time_s))
        beside = [
            place
            for place in (after - 1, after)
            if 0 <= place < len(self.times_s)
            and span is not None
            and span == _span_at(self.sound_s, float(self.times_s[place]))
            and abs(self.times_s[place] - time_s) < self.every_s + _EDGE_S
        ]
        if len(beside) < 2:
            return [(place, 1.0) for place in beside]
        before, later = self.times_s[beside]
        share = float((time_s - before) / (later - before))
        return [(beside[0], 1 - share), (beside[1], share)]

    @property
    def not_finite(self) -> int:
        """Maps with NaN or infinite values."""
        return int((~np.isfinite(self.maps).all(axis=(1, 2))).sum())


def make_track(
    source: str,
    system: System,
    features: FeatureSettings,
    readout: Readout,
    every_s: float,
    device: torch.device,
    geometry: Geometry,
    on_progress: Callable[[float, float], None],
    centres: Centres | None = None,
) -> MapTrack:
    """Maps every `every_s` seconds, each from the frame then displayed, the model's other frames around it, and the
    sound that belongs to them in training. At the ends of the video frames stop and sound is what lies nearest; where
    there is no sound, before it begins, after it ends or in a hole of it, there is no map.

    Args:
        on_progress: told (seconds done, seconds in all).
        centres: where the values of the readout's maps lie in what the model sees; evenly unless given.

    Raises:
        MediaError: the video can't be read, or its sound is shorter than the model needs.
    """
    recipe = PrepareSettings(
        audio_rate_hz=features.audio_rate_hz, audio_samples=features.audio_samples, channels=features.audio_channels
    )
    places = FramePlaces.of(features)
    times: list[float] = []
    maps: list[Map] = []
    match: list[float] = []
    square: Box = (0.0, 0.0, 1.0, 1.0)
    unheard: set[Reason] = set()
    spans = sound_spans(source)
    with open_video(source) as pictures_from, open_video(source) as sound_from:
        duration = pictures_from.duration_s
        step = Fraction(every_s).limit_denominator(1000)
        wanted = [index * step for index in range(int(duration / step) + 1) if index * step < duration]
        for shown in _in_groups(moments_of(pictures_from, wanted, places, features.frame_size, geometry), _AT_ONCE):
            windows = read_windows(
                sound_from, [places.sound_middle_s(moment.time_s) for moment in shown], recipe, "features.audio_samples"
            )
            pairs = zip(shown, windows, strict=True)
            heard = [
                (moment, window)
                for moment, window in pairs
                if not isinstance(window, Reason) and _span_at(spans, float(moment.time_s)) is not None
            ]
            unheard.update(window for window in windows if isinstance(window, Reason))
            if not heard:
                continue
            frames = torch.stack([torch.stack(moment.frames) for moment, _ in heard])
            audio = np.stack([window.audio.astype(np.float32) / 32768.0 for _, window in heard])
            inputs = {"frames": frames.to(device).float() / 255, "sound": torch.from_numpy(audio).to(device)}
            maps.extend(readout(system, inputs).cpu().numpy())
            match.extend(_match(system, inputs))
            times.extend(float(moment.time_s) for moment, _ in heard)
            square = heard[0][0].square
            on_progress(times[-1], float(duration))
    if not maps and unheard <= {Reason.TOO_SHORT}:
        raise MediaError(Reason.TOO_SHORT, "its sound begins after its last frame, ends before its first or has holes")
    if not maps:
        raise MediaError(Reason.DAMAGED, "no frame of it could be decoded together with its sound")
    return MapTrack(np.array(times), np.stack(maps), np.array(match), square, spans, float(step), centres)


@torch.no_grad()
def _match(system: System, inputs: Inputs) -> list[float]:
    """As of `MapTrack`."""
    if not system.task.matches:
        return [1.0] * len(inputs["frames"])
    score = system.task.match(system.model, system.model.embed(inputs))
    probabilities: list[float] = torch.sigmoid(score).cpu().tolist()
    return probabilities


def _span_at(spans: Sequence[tuple[float, float]], time_s: float) -> int | None:
    """Number of the stretch of sound at a time; None where there is none."""
    inside = (number for number, (begin, end) in enumerate(spans) if begin - _EDGE_S <= time_s <= end + _EDGE_S)
    return next(inside, None)


def _in_groups(items: Iterator[_Item], size: int) -> Iterator[list[_Item]]:
    while group := list(islice(items, size)):
        yield group


def unit_range(heat: Map) -> Map:
    """A map scaled for the eye: its median and all below become 0, so that half of the picture stays clear, its maximum
    1; one that says the same everywhere, or is not finite, becomes 0."""
    if not np.isfinite(heat).all():
        return np.zeros_like(heat)
    low, high = float(np.median(heat)), float(heat.max())
    scaled: Map = ((heat - low) / (high - low)).clip(0, 1) if high > low else np.zeros_like(heat)
    return scaled
