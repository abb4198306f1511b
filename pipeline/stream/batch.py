"""A micro-batch as the model takes it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.features.augment import AugmentDraws
from pipeline.samples.metadata import SampleMetadata
from pipeline.stream.arrays import Arrays
from pipeline.stream.fields.contract import FieldSpec
from pipeline.stream.reader import Note, Positions


@dataclass(frozen=True)
class Batch:
    """Samples at global positions.

    Attributes:
        positions: [B] global positions.
        notes: what came besides tensors, one a sample.
        specs: the fields that the samples were decoded into.
        tensors: of each field, by its name, [B, …] as it was decoded, before augmentation.
        draws: what was drawn for augmentation; none for evaluation.
    """

    positions: list[int]
    notes: list[Note]
    specs: Sequence[FieldSpec]
    tensors: dict[str, Tensor]
    draws: AugmentDraws | None

    def __len__(self) -> int:
        return len(self.notes)

    @property
    def keys(self) -> list[str]:
        """Of the samples that are shown."""
        return [note.key for note in self.notes]

    @cached_property
    def metadata(self) -> list[SampleMetadata]:
        """Of the samples that are shown."""
        return [SampleMetadata.model_validate_json(note.metadata) for note in self.notes]

    @property
    def replaced(self) -> int:
        """Samples that are shown in the place of bad ones."""
        return sum(bool(note.bad) for note in self.notes)

    def to(self, device: torch.device | str) -> "Batch":
        """The batch on another device; from pinned memory without waiting for the copy."""
        draws = None if self.draws is None else self.draws.to(device)
        tensors = {name: tensor.to(device, non_blocking=True) for name, tensor in self.tensors.items()}
        return Batch(self.positions, self.notes, self.specs, tensors, draws)

    def used_by(self, stream: torch.cuda.Stream) -> None:
        """Keep the memory until work on `stream` that was begun before it goes is done."""
        draws = [] if self.draws is None else [getattr(self.draws, one.name) for one in fields(self.draws)]
        for tensor in (*self.tensors.values(), *draws):
            tensor.record_stream(stream)

    def inputs(self, device: torch.device | str) -> dict[str, Tensor]:
        """Of each field, by its name, [B, …] as the model takes it: augmented, on the device."""
        here = self.to(device)
        return {one.name: one.on_device(here.tensors[one.name], here.draws) for one in self.specs}


def take_batch(
    positions: Positions,
    notes: list[Note],
    specs: Sequence[FieldSpec],
    arrays: Arrays,
    augment: bool,
    pin: bool,
    release: Callable[[], None] | None = None,
) -> Batch:
    """A batch of what was read.

    Args:
        pin: into pinned memory.
        release: called when the batch's tensors are gone, which are the arrays themselves then. Without it they are
            copies, and the arrays may be filled again at once.
    """
    count = len(notes)
    draws = AugmentDraws.of(arrays.draws[:count].copy()) if augment else None
    read = arrays.part(0, count).fields
    if release is None:
        tensors = {name: _copy(torch.from_numpy(array), pin) for name, array in read.items()}
    else:
        loan = _Loan(release)
        tensors = {name: torch.from_numpy(loan.on(array)) for name, array in read.items()}
    return Batch([int(position) for position in positions], notes, specs, tensors, draws)


def _copy(tensor: Tensor, pin: bool) -> Tensor:
    return tensor.pin_memory() if pin else tensor.clone()


class _Loan:
    """Calls when nothing is left that `on` gave out."""

    def __init__(self, release: Callable[[], None]) -> None:
        self._release = release

    def on(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The same array, which holds the loan."""
        return np.asarray(_Held(array, self))

    def __del__(self) -> None:
        self._release()


class _Held:
    def __init__(self, array: npt.NDArray[Any], loan: _Loan) -> None:
        self.__array_interface__ = array.__array_interface__
        self._kept = (array, loan)
