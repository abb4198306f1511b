"""What every input is to the rest.

A field is one array a sample. Its spec is small, pickled, and free of torch where it decodes, because it travels to the
loader's processes; only `on_device`, which runs in the trainer, needs it.
"""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipeline.features.inputs import InputSettings
from pipeline.features.settings import FeatureSettings
from pipeline.stream.opened_sample import Extent, OpenedSample

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.features.augment import AugmentDraws

Array = npt.NDArray[Any]


class FieldSpec(Extent, ABC):
    """One input of a sample.

    `pictures` and `sound` say what of the sample it shows: the clock needs them, and what no field names is not opened.

    Attributes:
        name: the key in a model's inputs.
        dtype: of the array.
    """

    name: str
    dtype: type[np.generic]

    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Of one sample's array; not augmented, `on_device` leaves it so."""

    @abstractmethod
    def decode(self, sample: OpenedSample, into: Array) -> None:
        """Put the sample's array into `into`, all of it: nothing is known of what was there before.

        Raises:
            ValueError: the sample lacks it, it is damaged, or there is less of it than asked for; another sample stands
                in.
        """

    @abstractmethod
    def noise(self, generator: np.random.Generator) -> Array:
        """An array as `decode` would fill it, of nothing in particular: for dry runs and examples."""

    def on_device(self, values: "Tensor", draws: "AugmentDraws | None") -> "Tensor":
        """A batch [B, …] of arrays as the model takes it, augmented as drawn; on the device, batched. Left as
        it is unless a field knows better."""
        return values


class FieldSettings(InputSettings):
    """Settings of an input under `features.inputs`, whose key there is its name."""

    def spec(self, name: str, features: FeatureSettings, augment: bool) -> FieldSpec:
        """The field.

        Args:
            augment: as in training; else as it is.
        """
        raise NotImplementedError
