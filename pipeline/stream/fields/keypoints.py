"""Keypoints of who is seen, in the square that the model sees."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from pipeline.features.settings import FeatureSettings, Geometry
from pipeline.stream.fields.contract import Array, FieldSettings, FieldSpec
from pipeline.stream.opened_sample import OpenedSample

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.features.augment import AugmentDraws


class KeypointsSettings(FieldSettings):
    """Keypoints of the frame, from the samples' JSON; samples without are left out."""

    kind: Literal["keypoints"] = "keypoints"
    points: int = Field(ge=1)
    """Keypoints a sample, those of all persons, one behind the other."""

    def spec(self, name: str, features: FeatureSettings, augment: bool) -> FieldSpec:
        """The field; it follows the frames through their augmentation."""
        return KeypointsField(name, self.points)


@dataclass(frozen=True)
class KeypointsField(FieldSpec):
    """float32 [points, 2]: x and y in 0–1 of the model's square, beyond it where they lie outside.

    Attributes:
        points: keypoints a sample.
        geometry: of the square, as of the frames.
    """

    name: str
    points: int
    geometry: Geometry = "centre"

    dtype = np.float32

    def shape(self) -> tuple[int, ...]:
        return (self.points, 2)

    def decode(self, sample: OpenedSample, into: Array) -> None:
        persons = sample.metadata.keypoints
        if persons is None:
            raise ValueError("expected keypoints in its JSON, found none")
        found = [point for person in persons for point in person]
        if len(found) != self.points:
            raise ValueError(f"expected {self.points} keypoints as the features ask for, found {len(found)}")
        left, top, right, bottom = sample.square(self.geometry)
        into[:] = (np.array(found) - (left, top)) / (right - left, bottom - top)

    def noise(self, generator: np.random.Generator) -> Array:
        return generator.random(self.shape(), np.float32)

    def on_device(self, values: "Tensor", draws: "AugmentDraws | None") -> "Tensor":
        if draws is None:
            return values
        from pipeline.features.augment import augment_points  # here, for the loader's processes do without torch

        return augment_points(values, draws)
