"""Files of a checkpoint as they are written: hashed on the way, and on disk when they are said to be."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import torch


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
