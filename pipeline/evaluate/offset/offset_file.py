"""The file that `gavt offset` writes, a line a video; started again it goes on behind the lines that are there."""

import os
from types import TracebackType

from cluster import storage
from cluster.errors import StorageError
from cluster.os_errors import why
from pipeline.prepare.manifests.offsets import Key, OffsetEntry, as_line, key_of, read_offsets
from pipeline.prepare.manifests.row import VideoRow

_SUFFIX = ".jsonl"


class OffsetFile:
    """A local file that is open for further lines; one that was cut off in the middle is removed."""

    def __init__(self, path: str) -> None:
        """
        Raises:
            StorageError: it is no local .jsonl, or can't be written.
            ManifestError: there is something else in it.
        """
        if storage.is_remote(path) or not path.endswith(_SUFFIX):
            raise StorageError(f"--out {path}: expected a local file whose name ends with {_SUFFIX}")
        try:
            self._file = open(path, "a+b")  # noqa: SIM115  closed by __exit__
            _remove_torn_line(self._file.fileno())
        except OSError as error:
            raise StorageError(f"{path}: can't write it: {why(error)}") from error
        self._known: set[Key] = {entry.key for entry in read_offsets(path)}

    def __enter__(self) -> "OffsetFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def knows(self, row: VideoRow) -> bool:
        """Whether it tells of a row."""
        return key_of(row) in self._known

    def add(self, entry: OffsetEntry) -> None:
        """One more line, which a reader sees at once."""
        self._file.write(as_line(entry).encode())
        self._file.flush()


def _remove_torn_line(file: int) -> None:
    size = os.fstat(file).st_size
    end = size
    while end and os.pread(file, 1, end - 1) != b"\n":
        end -= 1
    if end < size:
        os.ftruncate(file, end)
