"""A checkpoint's model as tensors: the moving average of its weights, or the weights themselves."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from cluster import storage
from cluster.once_a_machine import copied_once_a_machine
from cluster.process_group import ProcessGroup
from pipeline.errors import CheckpointError
from pipeline.train.checkpoints.layout import WEIGHTS, Checkpoint, damaged
from pipeline.train.checkpoints.saved_state import SavedState
from pipeline.train.engine.fragments import EMA, MASTER


def is_average(checkpoint: Checkpoint, raw: bool = False) -> bool:
    """Whether its weights are an average, maybe as an export of one.

    Args:
        raw: take the weights themselves where there is an average too.
    """
    if checkpoint.is_export:
        return checkpoint.manifest.get("weights") == "average"
    return checkpoint.has_average and not raw


def read_weights(checkpoint: Checkpoint, raw: bool = False, group: ProcessGroup | None = None) -> Mapping[str, Tensor]:
    """All parameters and persistent buffers by name, on the CPU, in float32 where they are no whole numbers; what is
    read is what was saved. Buffers and teachers have no average.

    Args:
        raw: as of `is_average`.
        group: processes that all want them, and read them together.

    Raises:
        CheckpointError: something is damaged.
        StorageError: something can't be read.
    """
    if checkpoint.is_export:
        with exported_file(checkpoint) as file:
            return load_file(file)
    saved = SavedState(checkpoint)
    weights = saved.whole(MASTER, group)
    if is_average(checkpoint, raw):
        weights |= saved.whole(EMA, group)
    return {name: one.to(plain_type(one.dtype)) for name, one in weights.items()}


def plain_type(dtype: torch.dtype) -> torch.dtype:
    """In which numbers are handed on: float32, where they are no whole ones."""
    return torch.float32 if dtype.is_floating_point else dtype


@contextmanager
def exported_file(checkpoint: Checkpoint) -> Iterator[Path]:
    """The weights' file of an export, here and as it was written.

    Raises:
        CheckpointError: it is damaged.
        StorageError: it can't be read.
    """
    url = storage.join(checkpoint.url, WEIGHTS)
    with copied_once_a_machine(url) as file:
        if storage.sha256(file) not in [e["sha256"] for e in checkpoint.manifest["files"] if e["name"] == WEIGHTS]:
            raise CheckpointError(damaged(url))
        yield file
