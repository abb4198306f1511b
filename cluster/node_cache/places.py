"""Where the extents of files lie in a cache."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from cluster import storage
from cluster.scratch import temporary_place
from cluster.storage import FileVersion

FOLDER = "GAVT_CACHE"
"""Variable: the folder of the node's cache."""
MOST = 16_384
"""Places that are remembered."""


def default_folder() -> Path:
    """Where the cache lies unless a setting says otherwise: `$GAVT_CACHE`, else a folder of this user in `$TMPDIR`."""
    place = os.environ.get(FOLDER)
    return Path(place) if place else temporary_place() / f"gavt-cache-{os.getuid()}"


class ExtentPlaces:
    """Where a cache has the extents of each version of a file.

    Args:
        folder: of the cache.
        extent_bytes: of an extent; those of other sizes lie elsewhere.
        claim: called before the first use of a set, with its name and the folder (path or URL) of its files; whether it
            is known now that this process uses it.
    """

    def __init__(self, folder: Path, extent_bytes: int, claim: Callable[[str, str], bool]) -> None:
        self._sets = f"{folder}/sets"
        self._extent_bytes = extent_bytes
        self._claim = claim
        self._claimed: set[str] = set()
        self._known: dict[tuple[str, FileVersion], str] = {}

    def extent(self, url: str, version: FileVersion, number: int) -> str:
        """Path of an extent, without its ending."""
        place = self._known.get((url, version))
        if place is None:
            place = self._claimed_place(url, version)
        return f"{place}/{number:08d}"

    def forget(self) -> None:
        """Claim all sets anew when they are used again."""
        self._known.clear()
        self._claimed.clear()

    def _claimed_place(self, url: str, version: FileVersion) -> str:
        """The folder of a version's extents, whose set this process now uses."""
        whole = url if storage.is_remote(url) else os.path.abspath(url)
        folder = whole.rpartition("/")[0]
        name = _hash(folder, 16)
        if name not in self._claimed and self._claim(name, folder):
            self._claimed.add(name)
        file, of_version = _hash(f"{self._extent_bytes} {whole}", 32), _hash(f"{version.size} {version.etag}", 16)
        place = f"{self._sets}/{name}/{file}/{of_version}"
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[url, version] = place
        return place


def _hash(text: str, digits: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:digits]
