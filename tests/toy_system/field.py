"""The corners and the centre of a sample's first box, as a skeleton would be given."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.features.settings import FeatureSettings
from pipeline.stream.fields.contract import Array, FieldSettings, FieldSpec
from pipeline.stream.opened_sample import OpenedSample


@dataclass(frozen=True)
class CornersField(FieldSpec):
    """float32 [5, 2], x and y in 0–1 of the upright picture."""

    name: str

    dtype = np.float32

    def shape(self) -> tuple[int, ...]:
        return (5, 2)

    def decode(self, sample: OpenedSample, into: Array) -> None:
        if not sample.metadata.boxes:
            raise ValueError("expected a box, found none")
        left, top, right, bottom = sample.metadata.boxes[0]
        middle = ((left + right) / 2, (top + bottom) / 2)
        into[:] = [(left, top), (right, top), (right, bottom), (left, bottom), middle]

    def noise(self, generator: np.random.Generator) -> Array:
        return generator.random(self.shape(), np.float32)


class CornersSettings(FieldSettings):
    kind: Literal["corners"] = "corners"

    def spec(self, name: str, features: FeatureSettings, augment: bool) -> CornersField:
        return CornersField(name)
