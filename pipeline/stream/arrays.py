"""The memory that samples are decoded into: one array a field, without copies between processes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.features.draws import DRAWS, draw_augmentation
from pipeline.features.settings import AugmentSettings
from pipeline.stream.fields.contract import Array, FieldSpec

_ALIGNED = 64
"""Bytes: every array begins at a multiple, as tensors want it."""


@dataclass(frozen=True)
class Arrays:
    """Where the samples of a batch are put.

    Attributes:
        fields: by the field's name, [B, …].
        draws: float32 [B, 10], see `pipeline.features.draws`.
    """

    fields: Mapping[str, Array]
    draws: npt.NDArray[np.float32]

    def part(self, start: int, stop: int) -> "Arrays":
        """Some of the samples; the same memory."""
        return Arrays({name: array[start:stop] for name, array in self.fields.items()}, self.draws[start:stop])

    def sample(self, place: int) -> dict[str, Array]:
        """The arrays of one sample; the same memory."""
        return {name: array[place] for name, array in self.fields.items()}

    @staticmethod
    def bytes_of(fields: Sequence[FieldSpec], samples: int) -> int:
        """Memory that `of` needs."""
        return sum(_aligned(_bytes(shape, dtype)) for _, shape, dtype in _layout(fields, samples))

    @staticmethod
    def of(fields: Sequence[FieldSpec], samples: int, memory: memoryview | None = None) -> "Arrays":
        """Arrays for so many samples, in the memory given or in new one."""
        if memory is None:
            memory = memoryview(bytearray(Arrays.bytes_of(fields, samples)))
        made: dict[str, Array] = {}
        offset = 0
        for name, shape, dtype in _layout(fields, samples):
            made[name] = np.ndarray(shape, dtype, memory, offset)
            offset += _aligned(made[name].nbytes)
        draws = made.pop(_DRAWN)
        return Arrays(made, draws)


def noise_of(
    fields: Sequence[FieldSpec], samples: int, augment: AugmentSettings, generator: np.random.Generator
) -> Arrays:
    """Arrays of so many samples, as they would be read, that show nothing."""
    arrays = Arrays.of(fields, samples)
    for place in range(samples):
        for field in fields:
            arrays.fields[field.name][place] = field.noise(generator)
        arrays.draws[place] = draw_augmentation(augment, generator)
    return arrays


_DRAWN = ""


def _layout(fields: Sequence[FieldSpec], samples: int) -> Iterator[tuple[str, tuple[int, ...], type[np.generic]]]:
    yield _DRAWN, (samples, len(DRAWS)), np.float32
    for field in fields:
        yield field.name, (samples, *field.shape()), field.dtype


def _bytes(shape: tuple[int, ...], dtype: type[np.generic]) -> int:
    return int(np.prod(shape)) * np.dtype(dtype).itemsize


def _aligned(amount: int) -> int:
    return -(-amount // _ALIGNED) * _ALIGNED
