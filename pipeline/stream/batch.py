"""A micro-batch as the model takes it."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.features.augment import AugmentDraws, augment_frames
from pipeline.samples.metadata import SampleMetadata
from pipeline.stream.reader import Arrays, Note, Positions


@dataclass(frozen=True)
class Batch:
    """Samples at global positions.

    Attributes:
        positions: [B] global positions.
        notes: what came besides tensors, one a sample.
        frames: uint8 [B, T, 3, K, K], before augmentation.
        audio: int16 [B, C, S].
        draws: what was drawn for augmentation; none for evaluation.
    """

    positions: list[int]
    notes: list[Note]
    frames: Tensor
    audio: Tensor
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
        frames, audio = self.frames.to(device, non_blocking=True), self.audio.to(device, non_blocking=True)
        return Batch(self.positions, self.notes, frames, audio, draws)

    def used_by(self, stream: torch.cuda.Stream) -> None:
        """Keep the memory until work on `stream` that was begun before it goes is done."""
        draws = [] if self.draws is None else [getattr(self.draws, one.name) for one in fields(self.draws)]
        for tensor in (self.frames, self.audio, *draws):
            tensor.record_stream(stream)

    def on_device(self, device: torch.device | str, frame_size: int) -> tuple[Tensor, Tensor]:
        """Augmented frames [B, T, 3, H, W] in 0–1 and waveform [B, C, S] in −1..1, on the device."""
        here = self.to(device)
        frames, waveform = here.frames.float() / 255, here.audio.float() / 32768
        if here.draws is None:
            return frames, waveform
        return augment_frames(frames, here.draws, frame_size), waveform * here.draws.volume[:, None, None]


def take_batch(
    positions: Positions,
    notes: list[Note],
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
    if release is None:
        frames, audio = (_copy(torch.from_numpy(part[:count]), pin) for part in (arrays.frames, arrays.audio))
    else:
        lease = _Lease(release)
        frames, audio = (torch.from_numpy(lease.on(part[:count])) for part in (arrays.frames, arrays.audio))
    return Batch([int(position) for position in positions], notes, frames, audio, draws)


def _copy(tensor: Tensor, pin: bool) -> Tensor:
    return tensor.pin_memory() if pin else tensor.clone()


class _Lease:
    """Calls when nothing is left that `on` gave out."""

    def __init__(self, release: Callable[[], None]) -> None:
        self._release = release

    def on(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The same array, which holds the lease."""
        return np.asarray(_Held(array, self))

    def __del__(self) -> None:
        self._release()


class _Held:
    def __init__(self, array: npt.NDArray[Any], lease: _Lease) -> None:
        self.__array_interface__ = array.__array_interface__
        self._kept = (array, lease)
