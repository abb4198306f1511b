"""DeepSpeed's files: taken into host memory first, written afterwards, read without running code from them."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import torch

from pipeline.errors import CheckpointError
from pipeline.train.checkpoints.host_copy import HostCopy


class TakenFiles:
    """DeepSpeed's place for writing files (its CheckpointEngine) that keeps copies of their content in host memory.

    Attributes:
        states: by path of the file what is to be written to it.
    """

    name = "gavt"

    def __init__(self, copies: HostCopy, folder: Path) -> None:
        self._copies, self._folder = copies, folder
        self.states: dict[Path, Any] = {}

    def save(self, state_dict: Any, path: str) -> None:
        file = Path(path)
        self.states[file] = self._copies.add(str(file.relative_to(self._folder)), state_dict)

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


@dataclass(frozen=True)
class Written:
    """A file as it was written: name below the checkpoint's folder, bytes, SHA-256 in hexadecimal digits."""

    name: str
    bytes: int
    sha256: str


class HashedFile:
    """A new file that is hashed while it is written, and is on disk when it is closed well."""

    def __init__(self, file: Path, folder: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._name = str(file.relative_to(folder))
        self._file: IO[bytes] = file.open("wb")
        self._digest = hashlib.sha256()
        self._bytes = 0
        self.error: OSError | None = None
        """Why it can't be written; torch says something else about that."""

    def write(self, content: Any) -> int:
        self._digest.update(content)
        try:
            size = self._file.write(content)
        except OSError as error:
            self.error = error
            raise
        self._bytes += size
        return size

    def flush(self) -> None:
        self._file.flush()

    def __enter__(self) -> "HashedFile":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        with self._file:
            if kind is None:
                self._file.flush()
                os.fsync(self._file.fileno())

    def written(self) -> Written:
        return Written(self._name, self._bytes, self._digest.hexdigest())


def write_state(state: Any, file: Path, folder: Path) -> Written:
    """Write one of DeepSpeed's files.

    Raises:
        OSError: it can't be written, on a full disk say.
    """
    with HashedFile(file, folder) as hashed:
        try:
            torch.save(state, cast(IO[bytes], hashed))  # it writes, and asks for nothing else
        except RuntimeError:
            if hashed.error is not None:
                raise hashed.error from None
            raise
    return hashed.written()


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
