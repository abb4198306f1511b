"""DeepSpeed's files: what it would write is handed over, and what it wrote is read without running code from it."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from pipeline.errors import CheckpointError


class HandOver:
    """DeepSpeed's place for writing files (its CheckpointEngine), which hands each file's content to `keep` instead."""

    name = "gavt"

    def __init__(self, keep: Callable[[Path, Any], None]) -> None:
        self._keep = keep

    def save(self, state_dict: Any, path: str) -> None:
        self._keep(Path(path), state_dict)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        os.makedirs(path, exist_ok=exist_ok)

    def create(self, info: Any) -> None:
        """DeepSpeed says that it begins."""

    def commit(self, info: Any) -> bool:
        """DeepSpeed says that it has handed over all; nothing is written yet."""
        return True

    def is_data_parallel_writer(self, dp_rank: int) -> bool:
        """Whether this process writes what all have alike."""
        return dp_rank == 0

    def is_decoupled(self) -> bool:
        return False

    def preserves_storage_sharing(self) -> bool:
        return True

    def cleanup(self) -> None:
        """DeepSpeed's engine ends."""


def read_state(file: Path) -> Mapping[str, Any]:
    """Read one of DeepSpeed's files: its tensors stay on disk until they are looked at, and no code runs from it.

    Raises:
        CheckpointError: something is in it that this project does not write.
    """
    import pickle

    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # else DeepSpeed guesses, and warns
    from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    try:
        with torch.serialization.safe_globals([DynamicLossScaler, LossScaler, ZeroStageEnum, fragment_address]):
            state = torch.load(file, map_location="cpu", mmap=True, weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise CheckpointError(f"{file}: not a file of a checkpoint: {' '.join(str(error).split())[:300]}") from None
    if not isinstance(state, Mapping):
        raise CheckpointError(f"{file}: expected a table of states, found {type(state).__name__}")
    return state
