"""An input of others: a sound that is drawn from beside the picture, and a file that only they know."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.stream.fields.contract import FieldSpec
from pipeline.stream.opened_sample import OpenedSample
from pipeline.stream.sound_track import SoundFormat


@dataclass(frozen=True)
class ShiftedSound(FieldSpec):
    """Sound from up to `most_s` before or behind the middle of the cut, and how far (s)."""

    name: str
    format: SoundFormat
    most_s: float

    dtype = np.float32

    @property
    def sound(self) -> SoundFormat:
        return self.format

    def shape(self) -> tuple[int, ...]:
        return (self.format.samples + 1,)

    def decode(self, sample: OpenedSample, into: npt.NDArray[Any]) -> None:
        shift_s = float(sample.generator(self.name).uniform(-self.most_s, self.most_s))
        into[0] = shift_s
        into[1:] = sample.cut_sound(self.format, shift_s)[0]

    def noise(self, generator: np.random.Generator) -> npt.NDArray[Any]:
        return generator.random(self.shape(), np.float32)


@dataclass(frozen=True)
class StoredLength(FieldSpec):
    """How many bytes a file of the sample has."""

    name: str
    ending: str

    dtype = np.int64

    def shape(self) -> tuple[int, ...]:
        return (1,)

    def decode(self, sample: OpenedSample, into: npt.NDArray[Any]) -> None:
        into[0] = len(sample.sample.files[self.ending])

    def noise(self, generator: np.random.Generator) -> npt.NDArray[Any]:
        return generator.integers(0, 9, self.shape())
