"""What a model says of a video, as numpy arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Localization:
    """Maps of where the sound comes from, as in `maps.npz` of `gavt localize`.

    Attributes:
        maps: [T, h, w] as the readout gives them: higher is surer, and only values of one map compare.
        times_s: [T] seconds from the video's zero, rising; moments without sound have no map.
        match: [T] probability that sound and frame belong together; 1 of a model whose objective gives no such answer.
        sound_s: [N, 2] begin and end of each stretch of sound, s.
        square: [4] where in the upright frame the maps lie, x1, y1, x2, y2 in 0–1; beyond it where bars are.
        rows, columns: [h] and [w] where in the square the maps' values lie, in 0–1 of it.
        readout: that made them.
    """

    maps: Float32
    times_s: Float64
    match: Float64
    sound_s: Float64
    square: Float64
    rows: Float64
    columns: Float64
    readout: str


@dataclass(frozen=True)
class Events:
    """What happens in a video, as in `NAME.npz` of `gavt events`.

    Attributes:
        events: by their begin, `begin_s`, `end_s`, `class`, `what` and `confidence` of each: consecutive segments of
            which one class, that is `both` seen and heard, is the surest; or in which it is `seen`, or `heard`.
        classes: [C] names; the last is `background`, where nothing is both seen and heard.
        begin_s: [N] of each segment, seconds from the video's zero; those whose sound has a hole are missing.
        segment_s: their length.
        probabilities: [N, C].
        square: [4] where in the upright frame the maps lie, x1, y1, x2, y2 in 0–1; beyond it where bars are.
        seen, heard: [N, C − 1] how likely each class is to be seen, and heard; None of a model that doesn't tell it.
        maps: [N, h, w] how far each place of the frame goes with the sound; None of a model that doesn't say.
        rows, columns: [h] and [w] where in the square the maps' values lie, in 0–1 of it.
    """

    events: Sequence[Mapping[str, Any]]
    classes: npt.NDArray[np.str_]
    begin_s: Float64
    segment_s: float
    probabilities: Float32
    square: Float64
    seen: Float32 | None = None
    heard: Float32 | None = None
    maps: Float32 | None = None
    rows: Float64 | None = None
    columns: Float64 | None = None


@dataclass(frozen=True)
class SeparatedSounds:
    """The sound of each place.

    Attributes:
        sounds: by place float32 [C, S] in −1..1, from the video's zero on, in the video's own channels; `rest` is what
            no place keeps.
        rate_hz: the video's own.
        places: by place, [x1, y1, x2, y2] in 0–1 of the upright frame; a point has no size.
    """

    sounds: Mapping[str, Float32]
    rate_hz: int
    places: Mapping[str, tuple[float, float, float, float]]


@dataclass(frozen=True)
class Match:
    """How well sound and frame belong together.

    Attributes:
        times_s: [T] seconds from the video's zero, rising.
        match: [T] probability of it, as the model sees it.
    """

    times_s: Float64
    match: Float64

    @property
    def mean(self) -> float:
        """Over the video."""
        return float(self.match.mean())


@dataclass(frozen=True)
class Offset:
    """By how much sound and picture of a video are apart.

    Attributes:
        offset_s: how much later (s) the sound comes than what is seen, below 0 where it comes earlier: the likeliest,
            however unlikely it is; None where nothing in the video begins.
        confidence: probability that it is right, 0–1; the command can't tell where it is below `--sure`.
        within_s: to how much (s) it is right: a frame, or the step of a model.
        every_s: where all repeats itself in the same rhythm, after how many seconds: it may as well be that much more
            or less.
    """

    offset_s: float | None
    confidence: float
    within_s: float
    every_s: float | None = None


@dataclass(frozen=True)
class Embeddings:
    """Moments of a video as vectors.

    Attributes:
        times_s: [T] seconds from the video's zero, rising.
        vectors: float32 [T, D] of each stage and stream, called as `pipeline.models.pooling.pooled` does; their lengths
            are as they come.
    """

    times_s: Float64
    vectors: Mapping[str, Float32]

    @property
    def frame(self) -> Float32:
        """[T, D] of what is seen, by itself."""
        return self._alone("visual")

    @property
    def sound(self) -> Float32:
        """[T, D] of what is heard, by itself."""
        return self._alone("audio")

    @property
    def joint(self) -> Float32:
        """[T, D] of both together: the class token, or without one the vectors of both streams side by side, behind the
        encoder where there is one."""
        if "fused/class" in self.vectors:
            return self.vectors["fused/class"]
        both = [self.vectors.get(f"fused/{stream}", self._alone(stream)) for stream in ("visual", "audio")]
        return np.concatenate(both, axis=1)

    def _alone(self, stream: str) -> Float32:
        return self.vectors.get(f"encoded/{stream}", self.vectors[f"embedded/{stream}"])
