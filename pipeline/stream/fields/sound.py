"""The sound around the middle of the cut."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.features.settings import FeatureSettings
from pipeline.stream.fields.contract import Array, FieldSpec
from pipeline.stream.opened_sample import OpenedSample
from pipeline.stream.sound_track import SoundFormat

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.features.augment import AugmentDraws

_LOUD = 8000


@dataclass(frozen=True)
class SoundField(FieldSpec):
    """int16 [C, S] → float in −1..1, its volume changed.

    Attributes:
        format: rate, S and C.
    """

    name: str
    format: SoundFormat

    dtype = np.int16

    @classmethod
    def of(cls, features: FeatureSettings, name: str = "sound", margin_s: float = 0.0) -> "SoundField":
        """The sound of the features, and as much more before and behind it."""
        samples = features.audio_samples + 2 * round(margin_s * features.audio_rate_hz)
        return cls(name, SoundFormat(features.audio_rate_hz, samples, features.audio_channels))

    @property
    def sound(self) -> SoundFormat:
        return self.format

    def shape(self) -> tuple[int, ...]:
        return (self.format.channels, self.format.samples)

    def decode(self, sample: OpenedSample, into: Array) -> None:
        into[:] = sample.cut_sound(self.format)

    def noise(self, generator: np.random.Generator) -> Array:
        return generator.integers(-_LOUD, _LOUD, self.shape(), np.int16)

    def on_device(self, values: "Tensor", draws: "AugmentDraws | None") -> "Tensor":
        waveform = values.float() / 32768
        return waveform if draws is None else waveform * draws.volume[:, None, None]
