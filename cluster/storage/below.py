"""Names of files below a folder, as listings and manifests give them, and the local files that they may become.

Object storage knows no folders: a key may be anything, `../` and all, and whoever can write to a bucket chooses it.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from cluster.errors import StorageError
from cluster.storage.listing import FileInfo
from cluster.storage.location import Location, join

_LONGEST_NAME = 255  # bytes, on nearly all file systems


def name_below(folder: Location, file: FileInfo) -> str:
    """The name below `folder` of a file that a listing of it gave."""
    return file.url[len(os.fspath(folder).rstrip("/")) + 1 :]


def local_places(names: Iterable[str], folder: Path, origin: Location) -> dict[str, Path]:
    """The local files below `folder` that names stand for. Every name that comes from elsewhere is joined here.

    Args:
        origin: where the names come from (path or URL), for messages.

    Raises:
        StorageError: one would lie elsewhere (`..`, an absolute path) or can't be a file's name here, or two exclude
            each other: `a` and `a/b`.
    """
    names = list(names)
    check_names(names, origin)
    files = set(names)
    for name in names:
        folders = (name[:end] for end, letter in enumerate(name) if letter == "/")
        if (other := next(filter(files.__contains__, folders), None)) is not None:
            raise StorageError(f"{join(origin, name)}: expected a file in a folder, found {other} to be a file")
    return {name: folder / name for name in names}


def check_names(names: Iterable[str], origin: Location) -> None:
    """Refuse names that can't be those of files below a local folder.

    Raises:
        StorageError: the first of them.
    """
    for name in names:
        if (found := why_not_below(name)) is not None:
            raise StorageError(f"{join(origin, name)!r}: expected a name that can lie below a folder, found {found}")


def why_not_below(name: str) -> str | None:
    """What keeps a name from being that of a file below a local folder; None for nothing."""
    parts = name.split("/")
    if name.startswith("/"):
        return "an absolute path"
    if ".." in parts or "." in parts:
        return "a path that leads through . or .."
    if "" in parts:
        return "an empty part"
    if "\\" in name or not name.isprintable():
        return "a backslash or a letter that can't be printed"
    if any(len(part.encode()) > _LONGEST_NAME for part in parts):
        return f"a part of more than {_LONGEST_NAME} bytes"
    return None
