"""A micro-batch as the model takes it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.features.augment import AugmentDraws, with_matrices
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
        drawn: [B, 26] what was drawn for augmentation, see `with_matrices`; none for evaluation.
        targets: what a task made of them, where the batch is trained on.
    """

    positions: list[int]
    notes: list[Note]
    specs: Sequence[FieldSpec]
    tensors: dict[str, Tensor]
    drawn: Tensor | None
    targets: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.notes)

    @cached_property
    def keys(self) -> list[str]:
        """Of the samples that are shown."""
        return [note.key for note in self.notes]

    @cached_property
    def metadata(self) -> list[SampleMetadata]:
        """Of the samples that are shown."""
        return [SampleMetadata.model_validate_json(note.metadata) for note in self.notes]

    @cached_property
    def replaced(self) -> int:
        """Samples that are shown in the place of bad ones."""
        return sum(bool(note.bad) for note in self.notes)

    @property
    def draws(self) -> AugmentDraws | None:
        """What was drawn, by its names."""
        return None if self.drawn is None else AugmentDraws.of(self.drawn)

    def all_tensors(self) -> list[Tensor]:
        """Everything in it that lies on a device."""
        return [*self.tensors.values(), *self.targets.values(), *([] if self.drawn is None else [self.drawn])]

    def to(self, device: torch.device | str) -> "Batch":
        """The batch on another device; from pinned memory without waiting for the copy."""
        tensors, targets = (
            {name: tensor.to(device, non_blocking=True) for name, tensor in them.items()}
            for them in (self.tensors, self.targets)
        )
        drawn = None if self.drawn is None else self.drawn.to(device, non_blocking=True)
        return replace(self, tensors=tensors, targets=targets, drawn=drawn)

    def inputs(self, device: torch.device | str | None = None) -> dict[str, Tensor]:
        """Of each field, by its name, [B, …] as the model takes it: augmented, on the device or where it lies."""
        here = self if device is None else self.to(device)
        draws = here.draws
        return {one.name: one.on_device(here.tensors[one.name], draws) for one in self.specs}


def take_batch(
    positions: Positions,
    notes: list[Note],
    specs: Sequence[FieldSpec],
    arrays: Arrays,
    augment: bool,
    release: Callable[[], None] | None = None,
) -> Batch:
    """A batch of what was read.

    Args:
        release: called when the batch's tensors are gone, which are the arrays themselves then. Without it they are
            copies, and the arrays may be filled again at once.
    """
    read = arrays.part(0, len(notes))
    if release is None:
        tensors = {name: torch.from_numpy(array).clone() for name, array in read.fields.items()}
    else:
        loan = _Loan(release)
        tensors = {name: torch.from_numpy(loan.on(array)) for name, array in read.fields.items()}
    drawn = with_matrices(torch.from_numpy(read.draws)) if augment else None
    return Batch([int(position) for position in positions], notes, specs, tensors, drawn)


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
