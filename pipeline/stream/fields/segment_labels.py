"""What sounds in each segment, as labels to learn from."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field, model_validator

from pipeline.features.settings import FeatureSettings
from pipeline.stream.fields.contract import Array, FieldSettings, FieldSpec
from pipeline.stream.opened_sample import OpenedSample

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.features.augment import AugmentDraws


class SegmentLabelsSettings(FieldSettings):
    """What sounds in each segment, from the samples' JSON; samples without are left out."""

    kind: Literal["segment_labels"] = "segment_labels"
    segments: int = Field(default=10, ge=1)
    """Segments a sample, as it was prepared."""
    classes: tuple[str, ...] = Field(min_length=1)
    """All labels, in the order of their numbers. A segment in which nothing sounds has none of them."""

    @model_validator(mode="after")
    def _classes_differ(self) -> "SegmentLabelsSettings":
        twice = next((name for place, name in enumerate(self.classes) if name in self.classes[:place]), None)
        if twice is not None:
            raise ValueError(f"classes that differ, found {twice!r} twice")
        return self

    def spec(self, name: str, features: FeatureSettings, augment: bool) -> FieldSpec:
        """The field."""
        return SegmentLabelsField(name, self.segments, self.classes)


@dataclass(frozen=True)
class SegmentLabelsField(FieldSpec):
    """int8 [segments, classes], 1 where the class sounds → float.

    Attributes:
        segments: a sample.
        classes: all labels, in the order of their numbers.
    """

    name: str
    segments: int
    classes: tuple[str, ...]

    dtype = np.int8

    def shape(self) -> tuple[int, ...]:
        return (self.segments, len(self.classes))

    def decode(self, sample: OpenedSample, into: Array) -> None:
        labels = sample.metadata.segment_labels
        if labels is None or len(labels) != self.segments:
            found = "none" if labels is None else f"those of {len(labels)}"
            raise ValueError(f"expected labels of {self.segments} segments as the features ask for, found {found}")
        into[:] = 0
        for segment, names in zip(into, labels, strict=True):
            for name in names:
                if name not in self.classes:
                    raise ValueError(f"expected labels among the {len(self.classes)} classes, found {name!r}")
                segment[self.classes.index(name)] = 1

    def noise(self, generator: np.random.Generator) -> Array:
        return generator.integers(0, 2, self.shape(), np.int8)

    def on_device(self, values: "Tensor", draws: "AugmentDraws | None") -> "Tensor":
        return values.float()
