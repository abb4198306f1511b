"""Writing the tar of a shard; `shard_files` puts it where it belongs."""

import io
import tarfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType

from cluster import storage
from pipeline.shards.ledger import InputEntry
from pipeline.shards.shard_files import SampleEntry, ShardIndex


class ShardWriter:
    """Writes samples into a local tar, for the time of a `with` block: same samples, same bytes.

    Args:
        path: of the tar.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._samples: list[SampleEntry] = []

    def __enter__(self) -> "ShardWriter":
        self._file = self._path.open("wb")
        self._tar = tarfile.open(fileobj=self._file, mode="w", format=tarfile.USTAR_FORMAT)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._file:
            if error is None:
                self._tar.close()

    def add(self, key: str, files: Mapping[str, bytes]) -> None:
        """Add a sample: extension → content, the JSON first."""
        offset = self._tar.offset
        checksum = 0
        for extension, content in files.items():
            member = tarfile.TarInfo(f"{key}.{extension}")  # time 0, user 0, group 0
            member.size = len(content)
            self._tar.addfile(member, io.BytesIO(content))
            checksum = zlib.crc32(content, checksum)
        self._samples.append(SampleEntry(key=key, offset=offset, bytes=self._tar.offset - offset, crc32=checksum))

    def index(self, inputs: Iterable[InputEntry]) -> ShardIndex:
        """What the shard's JSON says, when the tar is whole: behind the `with` block.

        Args:
            inputs: what became of the shard's videos, in the order of their samples.
        """
        return ShardIndex(
            sha256=storage.sha256(self._path),
            bytes=self._path.stat().st_size,
            samples=self._samples,
            inputs=list(inputs),
        )
