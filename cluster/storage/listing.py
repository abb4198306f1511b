"""What is there, and how large it is."""

import os
from dataclasses import dataclass

from cluster.storage.filesystems import open_filesystem
from cluster.storage.location import Location
from cluster.storage.part_files import is_part
from cluster.storage.plain_errors import said_plainly


@dataclass(frozen=True)
class FileInfo:
    """A file of a listing: its full path or URL and its size in bytes."""

    url: str
    size: int


def exists(url: Location) -> bool:
    """Whether a file, or a folder with something in it, is there."""
    filesystem, path = open_filesystem(url)
    with said_plainly("read", url):
        return bool(filesystem.exists(path))


def list_files(folder: Location) -> list[FileInfo]:
    """All files below `folder`, sorted by name; empty if there is no such folder. One listing, no request per file."""
    filesystem, path = open_filesystem(folder)
    with said_plainly("list", folder):
        try:
            found = filesystem.find(path, detail=True)
        except FileNotFoundError:
            return []
    base = os.fspath(folder).rstrip("/")
    root = path.rstrip("/")
    return sorted(
        (
            FileInfo(base + name[len(root) :], int(entry["size"]))
            for name, entry in found.items()
            if name != root and not is_part(name)
        ),
        key=lambda file: file.url,
    )


def size(url: Location) -> int:
    """Size of a file in bytes."""
    filesystem, path = open_filesystem(url)
    with said_plainly("read", url):
        return int(filesystem.size(path))
