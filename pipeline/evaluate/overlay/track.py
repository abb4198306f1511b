"""The maps of a video over time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from pipeline.evaluate.metrics.resize import Centres, Map
from pipeline.evaluate.overlay.heard_moments import EDGE_S, heard_moments, span_at, whole_step
from pipeline.evaluate.overlay.sound_spans import sound_spans
from pipeline.evaluate.overlay.video_keypoints import FoundKeypoints
from pipeline.evaluate.readouts.readout import Readout
from pipeline.features.settings import FeatureSettings, Geometry
from pipeline.models.contract import Inputs
from pipeline.samples.metadata import Box
from pipeline.tasks.task import System


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
        sound_repeated: as of `HeardMoments`.
    """

    times_s: npt.NDArray[np.float64]
    maps: Map
    match: npt.NDArray[np.float64]
    square: Box
    sound_s: Sequence[tuple[float, float]]
    every_s: float
    centres: Centres | None = None
    sound_repeated: bool = False

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
        span = span_at(self.sound_s, time_s)
        after = int(np.searchsorted(self.times_s, time_s))
        beside = [
            place
            for place in (after - 1, after)
            if 0 <= place < len(self.times_s)
            and span is not None
            and span == span_at(self.sound_s, float(self.times_s[place]))
            and abs(self.times_s[place] - time_s) < self.every_s + EDGE_S
        ]
        if len(beside) < 2:
            return [(place, 1.0) for place in beside]
        before, later = self.times_s[beside]
        share = float((time_s - before) / (later - before))
        return [(beside[0], 1 - share), (beside[1], share)]

    @property
    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """All of it, as `gavt localize` writes it: maps [T, h, w] float32, times_s [T], match [T], sound_s [N, 2],
        square [4], and rows [h] and columns [w], where in the square the maps' values lie, in 0–1 of it."""
        centres = self.centres or Centres.even(*self.maps.shape[1:])
        return {
            "maps": self.maps.astype(np.float32),
            "times_s": self.times_s,
            "match": self.match,
            "sound_s": np.array(self.sound_s),
            "square": np.array(self.square),
            "rows": np.array(centres.rows),
            "columns": np.array(centres.columns),
        }

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
    keypoints: FoundKeypoints | None = None,
) -> MapTrack:
    """Maps at the moments of `heard_moments`.

    Args:
        on_progress: told (seconds done, seconds in all).
        centres: where the values of the readout's maps lie in what the model sees; evenly unless given.
        keypoints: of the persons in the video, for a model that takes them.

    Raises:
        MediaError: the video can't be read, or no moment of it has sound.
    """
    times: list[float] = []
    maps: list[Map] = []
    match: list[float] = []
    square: Box = (0.0, 0.0, 1.0, 1.0)
    spans = sound_spans(source)
    repeated = False
    for heard in heard_moments(source, spans, features, every_s, device, geometry, keypoints):
        maps.extend(readout(system, heard.inputs).cpu().numpy())
        match.extend(match_of(system, heard.inputs) if system.task.matches else [1.0] * len(heard.times_s))
        times.extend(heard.times_s)
        square, repeated = heard.square, heard.sound_repeated
        on_progress(times[-1], heard.duration_s)
    step = float(whole_step(every_s))
    return MapTrack(np.array(times), np.stack(maps), np.array(match), square, spans, step, centres, repeated)


@torch.no_grad()
def match_of(system: System, inputs: Inputs) -> list[float]:
    """[B] probability that sound and frames belong together, as a model sees it whose objective says so
    (`Task.matches`)."""
    score = system.task.match(system.model, system.model.embed(inputs))
    probabilities: list[float] = torch.sigmoid(score).cpu().tolist()
    return probabilities


def unit_range(heat: Map) -> Map:
    """A map scaled for the eye: its median and all below become 0, so that half of the picture stays clear, its maximum
    1; one that says the same everywhere, or is not finite, becomes 0."""
    if not np.isfinite(heat).all():
        return np.zeros_like(heat)
    low, high = float(np.median(heat)), float(heat.max())
    scaled: Map = ((heat - low) / (high - low)).clip(0, 1) if high > low else np.zeros_like(heat)
    return scaled
