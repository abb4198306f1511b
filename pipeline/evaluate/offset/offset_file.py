"""The file that `gavt offset` writes, a line a video; started again it goes on behind the lines that are there."""

import json
from types import TracebackType

from cluster import storage
from cluster.errors import InUseError, StorageError
from cluster.file_lock import try_lock
from cluster.os_errors import why
from pipeline.errors import ManifestError
from pipeline.prepare.manifests.offsets import Key, OffsetEntry, as_line, key_of, parse_line
from pipeline.prepare.manifests.row import VideoRow

_SUFFIX = ".jsonl"
_BEGIN = b'{"video": "'
"""Of each line."""


class OffsetFile:
    """A local file that is open for further lines, for one process at a time; a line that was cut off in the middle is
    removed."""

    def __init__(self, path: str, by: str) -> None:
        """
        Args:
            by: what finds offsets now.

        Raises:
            StorageError: it is no local .jsonl, or can't be written.
            InUseError: another process writes it.
            ManifestError: there is something else in it, or what another found; nothing of it is lost.
        """
        if storage.is_remote(path) or not path.endswith(_SUFFIX):
            raise StorageError(f"--out {path}: expected a local file whose name ends with {_SUFFIX}")
        try:
            self._file = open(path, "a+b")  # noqa: SIM115  closed by __exit__
        except OSError as error:
            raise StorageError(f"{path}: can't write it: {why(error)}") from error
        if try_lock(self._file.fileno()) is False:
            self._file.close()
            raise InUseError(f"--out {path}: another gavt offset writes this file")
        self._known: set[Key] = set()
        self._read(path, by)

    def __enter__(self) -> "OffsetFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def knows(self, row: VideoRow) -> bool:
        """Whether it tells of a row anything that would not be otherwise another time."""
        return key_of(row) in self._known

    def add(self, entry: OffsetEntry) -> None:
        """One more line, which a reader sees at once."""
        self._file.write(as_line(entry).encode())
        self._file.flush()

    def _read(self, path: str, by: str) -> None:
        self._file.seek(0)
        end, line = 0, b"\n"
        for number, line in enumerate(self._file, 1):
            if _is_torn(line):
                self._file.truncate(end)
                return
            entry = parse_line(path, number, line)
            if entry.by is not None and entry.by != by:
                raise ManifestError(
                    f"{path}:{number}: expected rows by {by}, or another --out, found one by {entry.by}"
                )
            if not entry.may_change:
                self._known.add(entry.key)
            end += len(line)
        if not line.endswith(b"\n"):
            self._file.write(b"\n")


def _is_torn(line: bytes) -> bool:
    if line.endswith(b"\n") or not line.startswith(_BEGIN[: len(line)]):
        return False
    try:
        json.loads(line)
    except ValueError:
        return True
    return False
