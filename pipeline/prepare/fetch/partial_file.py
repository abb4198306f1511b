"""A download that is under way.

FOLDER/content        the bytes so far
FOLDER/content.json   which version of the file they are of: size, ETag, date, checksum
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cluster import storage
from cluster.errors import StorageError
from pipeline.prepare.fetch.patience import PassingError

_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)")
_LENGTH = re.compile(r"[0-9]{1,18}")
_SENDABLE = re.compile(r"[\x20-\x7e]+")  # nothing else may be sent back in a header
_SHA_256 = re.compile(r"sha-256=:([^:]+):")


class PartialFile:
    """The bytes so far of one download, and what they are a part of.

    Args:
        folder: where it lies, or will; what an earlier process left there is gone on with.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "content"
        self._about = folder / "content.json"
        folder.mkdir(parents=True, exist_ok=True)
        self._version: dict[str, Any] = {}
        if self.path.exists() and self._about.exists():
            try:
                self._version = storage.read_json(self._about)
            except StorageError:  # half written when the machine stopped
                self.restart()

    @property
    def bytes(self) -> int:
        """How many bytes are there."""
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def size(self) -> int | None:
        """How many bytes the server announced; None where it did not."""
        size: int | None = self._version.get("size")
        return size

    @property
    def whole(self) -> bool:
        """Whether all bytes are there."""
        return self._version.get("size") is not None and self.bytes == self._version["size"]

    def restart(self) -> None:
        """Forget what is there."""
        self._version = {}
        self.path.unlink(missing_ok=True)
        self._about.unlink(missing_ok=True)

    def wish(self) -> dict[str, str]:
        """Headers of a request for what is missing; the whole file where the server would not say if it changed."""
        validator = self._version.get("validator")
        if not self.bytes or validator is None:
            self.restart()
            return {}
        return {"Range": f"bytes={self.bytes}-", "If-Range": validator}

    def accept(self, status: int, headers: Mapping[str, str]) -> None:
        """Get ready for the body of an answer: the rest of what is there (206), or the file from its beginning.

        Raises:
            PassingError: another part than was wished for.
        """
        if status != 206:
            self.restart()
            length = headers.get("Content-Length", "")
            packed = headers.get("Content-Encoding", "identity").lower() != "identity"
            self._version = {
                "size": int(length) if _LENGTH.fullmatch(length) and not packed else None,
                "validator": None if packed else _validator(headers),
                "sha256": _first_group(_SHA_256.search(headers.get("Repr-Digest", ""))),
                "md5": headers.get("Content-MD5"),
            }
            storage.write_bytes(self._about, json.dumps(self._version).encode(), durable=False)
            self.path.touch()
            return
        found = _RANGE.fullmatch(headers.get("Content-Range", ""))
        etag, known = headers.get("ETag"), self._version.get("validator")
        changed = etag is not None and known is not None and known.startswith('"') and etag != known
        if not found or int(found[1]) != self.bytes or changed or found[2] not in ("*", str(self._version.get("size"))):
            self.restart()
            raise PassingError("the server sent another part of the file than was asked for, or of another version")

    def check(self) -> None:
        """See whether what is there is the file that the server announced.

        Raises:
            PassingError: it is not; it will be fetched from its beginning.
        """
        size = self._version.get("size")
        if size is not None and self.bytes != size:
            found = self.bytes
            if found > size:
                self.restart()
            raise PassingError(f"expected {size} bytes, found {found}")
        for name, expected in (("sha256", self._version.get("sha256")), ("md5", self._version.get("md5"))):
            if expected is not None and _digest(self.path, name) != expected:
                self.restart()
                raise PassingError(f"its {name.upper()} is not the one that the server announced")


def _validator(headers: Mapping[str, str]) -> str | None:
    etag = headers.get("ETag", "")
    # a weak ETag promises no same bytes
    validator = etag if etag.startswith('"') else headers.get("Last-Modified", "")
    return validator if _SENDABLE.fullmatch(validator) else None


def _first_group(match: "re.Match[str] | None") -> str | None:
    return None if match is None else match[1]


def _digest(path: Path, name: str) -> str:
    digest = hashlib.new(name)
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return base64.b64encode(digest.digest()).decode()
