"""Squares of what is on screen."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.features.frame_times import FrameTimes
from pipeline.features.settings import FeatureSettings, Geometry
from pipeline.stream.fields.contract import Array, FieldSpec
from pipeline.stream.opened_sample import OpenedSample

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.features.augment import AugmentDraws


@dataclass(frozen=True)
class FramesField(FieldSpec):
    """uint8 [T, 3, K, K], a square of each upright picture → float [T, 3, H, H] in 0–1, augmented.

    Attributes:
        times: T, and when they are shown beside the sound. Layout `frame` has one picture; `segments` and `clip` give
            what is on screen at T moments.
        size: K, the side of the square that is decoded: with room for the crops where it is augmented.
        frame_size: H, that the model sees.
        geometry: how the upright picture becomes the square.
    """

    name: str
    times: FrameTimes
    size: int
    frame_size: int
    geometry: Geometry = "centre"

    dtype = np.uint8

    @classmethod
    def of(
        cls, features: FeatureSettings, augment: bool, name: str = "frames", geometry: Geometry = "centre"
    ) -> "FramesField":
        """The frames of the features."""
        room = features.augment.resize_minimum if augment else 1.0  # so that the smallest crop is not enlarged
        return cls(name, features.frame_times, math.ceil(features.frame_size / room), features.frame_size, geometry)

    @property
    def pictures(self) -> FrameTimes:
        return self.times

    def shape(self) -> tuple[int, ...]:
        return (self.times.frames, 3, self.size, self.size)

    def decode(self, sample: OpenedSample, into: Array) -> None:
        sample.put_squares(self.times, self.geometry, into)

    def noise(self, generator: np.random.Generator) -> Array:
        return generator.integers(0, 256, self.shape(), np.uint8)

    def on_device(self, values: "Tensor", draws: "AugmentDraws | None") -> "Tensor":
        frames = values.float() / 255
        if draws is None:
            return frames
        from pipeline.features.augment import augment_frames  # here, for the loader's processes do without torch

        return augment_frames(frames, draws, self.frame_size)
