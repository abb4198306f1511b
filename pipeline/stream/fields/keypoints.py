"""Keypoints of who is seen, in the square that the model sees."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from pipeline.features.frame_times import FrameTimes
from pipeline.features.settings import FeatureSettings, Geometry
from pipeline.samples.metadata import Box
from pipeline.samples.skeleton import MIRRORED, POINTS
from pipeline.shards.keypoints_file import KEYPOINTS_FILE, Keypoints, decode_keypoints
from pipeline.stream.fields.contract import Array, FieldSettings, FieldSpec
from pipeline.stream.opened_sample import OpenedSample

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.features.augment import AugmentDraws


class KeypointsSettings(FieldSettings):
    """Keypoints of the persons in the frames, from the samples' own file of them."""

    kind: Literal["keypoints"] = "keypoints"
    persons: int = Field(default=2, ge=1)
    """Persons a frame. Zeros stand for one who isn't seen, and for those that the samples have no place for; more than
    these are left out."""
    frames: int | None = Field(default=None, ge=1)
    """Frames a sample; null are those of `features.frames`. TriBERT (paper 001, footnote 3) looks at 256 beside 3."""
    frame_rate_hz: float | None = Field(default=None, gt=0)
    """Frames a second, around the sound's middle; null is `features.frame_rate_hz` where `frames` is null too, else
    evenly over the sound."""
    missing: Literal["leave_out", "zeros"] = "leave_out"
    """Samples without keypoints: `leave_out` has another sample stand in; `zeros` takes them for nobody."""

    def spec(self, name: str, features: FeatureSettings, augment: bool) -> "KeypointsField":
        """The field; it follows the frames through their augmentation."""
        times = features.frame_times
        if self.frames is not None or self.frame_rate_hz is not None:
            times = FrameTimes(self.frames or times.frames, self.frame_rate_hz, times.sound_s)
        return KeypointsField(name, times, self.persons, self.missing == "zeros")


@dataclass(frozen=True)
class KeypointsField(FieldSpec):
    """float32 [T, persons, 68, 3]: x and y in 0–1 of the model's square, beyond it where they lie outside, and the
    confidence in 0–1. All three are 0 where a point or its person wasn't found. Points are those of
    `pipeline.samples.skeleton`.

    Attributes:
        times: T, and when the frames are shown beside the sound.
        persons: a frame.
        may_lack: samples without keypoints count as those with nobody in them.
        geometry: of the square, as of the frames.
    """

    name: str
    times: FrameTimes
    persons: int
    may_lack: bool = False
    geometry: Geometry = "centre"

    dtype = np.float32

    def shape(self) -> tuple[int, ...]:
        return (self.times.frames, self.persons, POINTS, 3)

    @property
    def span_s(self) -> float:
        return self.times.span_s

    def decode(self, sample: OpenedSample, into: Array) -> None:
        content = sample.sample.files.get(KEYPOINTS_FILE)
        if content is None:
            if not self.may_lack:
                raise ValueError(f"no .{KEYPOINTS_FILE} in it")
            into[:] = 0
            return
        known, shown = decode_keypoints(content), sample.shown(self.times)
        if max(shown) >= len(known):
            raise ValueError(
                f".{KEYPOINTS_FILE}: expected those of its frame {max(shown)}, found those of {len(known)} frames"
            )
        self.put(known[shown], sample.square(self.geometry), into)

    def put(self, known: Keypoints, square: Box, into: Array) -> None:
        """Keypoints [T, any number of persons, 68, 3] in 0–1 of the upright picture, as they lie in a square of it."""
        left, top, right, bottom = square
        persons = min(self.persons, known.shape[1])
        into[:] = 0
        into[:, :persons] = known[:, :persons]
        found = into[..., 2] > 0
        into[found, :2] = (into[found, :2] - (left, top)) / (right - left, bottom - top)

    def noise(self, generator: np.random.Generator) -> Array:
        return generator.random(self.shape(), np.float32)

    def on_device(self, values: "Tensor", draws: "AugmentDraws | None") -> "Tensor":
        if draws is None:
            return values
        import torch  # here, for the loader's processes do without

        from pipeline.features.augment import augment_points

        places, confidence = values[..., :2], values[..., 2:]
        moved = augment_points(places.flatten(1, 3), draws).view(places.shape) * (confidence > 0)
        augmented = torch.cat([moved, confidence], dim=-1)
        mirrored = (draws.mirror < 0).view(-1, 1, 1, 1, 1)
        return torch.where(mirrored, augmented[:, :, :, list(MIRRORED)], augmented)
