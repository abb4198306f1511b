"""What is there, and how large it is."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

from cluster.storage.filesystems import open_filesystem, open_storage
from cluster.storage.location import Location, is_remote, path_of
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
    """All files below `folder`, sorted by name; empty if there is no such folder. One listing, no request per file.

    Links to local folders are not followed.

    Raises:
        ForbiddenError, UnreachableError, StorageError: some of it can't be listed; nothing is left out in silence.
    """
    base = os.fspath(folder).rstrip("/")
    with said_plainly("list", folder):
        files = [FileInfo(base + name, size) for name, size in _names(folder) if not is_part(name)]
    return sorted(files, key=lambda file: file.url)


def list_folders(folder: Location) -> list[str]:
    """Names of the folders directly below `folder`, sorted; empty if there is no such folder. What is in them is not
    listed."""
    filesystem, path = open_filesystem(folder)
    with said_plainly("list", folder):
        try:
            found = filesystem.ls(path, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
    below = (entry["name"].rstrip("/") for entry in found if entry["type"] == "directory")
    return sorted(name.rsplit("/", 1)[-1] for name in below if name != path.rstrip("/"))


def size(url: Location) -> int:
    """Size of a file in bytes."""
    with said_plainly("read", url):
        if not is_remote(url):
            return os.stat(path_of(url)).st_size
        storage, path = open_storage(url)
        return storage.head(path)[0]


def _names(folder: Location) -> Iterator[tuple[str, int]]:
    """Names below `folder`, from the slash behind it on, and sizes."""
    if not is_remote(folder):
        root = os.fspath(path_of(folder)).rstrip("/")
        for path, file_size in _local_files(root or "/"):
            yield path[len(root) :], file_size
        return
    storage, root = open_storage(folder)
    try:
        found = storage.find(root, detail=True)
    except FileNotFoundError:
        return
    root = root.rstrip("/")
    for path, entry in found.items():
        file_size = int(entry["size"])
        stands_for_folder = path.endswith("/") and not file_size  # web consoles make them
        if path != root and not stands_for_folder:
            yield path[len(root) :], file_size


def _local_files(root: str) -> Iterator[tuple[str, int]]:
    """Paths and sizes. fsspec would leave out what it can't read."""
    for folder, _, names in os.walk(root, onerror=_leave_out_or_raise):
        for name in names:
            path = os.path.join(folder, name)
            try:
                file_size = os.stat(path).st_size
            except OSError as error:
                if os.path.islink(path):
                    file_size = 0  # it leads nowhere
                elif isinstance(error, FileNotFoundError):
                    continue  # removed since
                else:
                    raise
            yield path, file_size


def _leave_out_or_raise(error: OSError) -> None:
    if isinstance(error, FileNotFoundError | NotADirectoryError):  # no folder, or no more
        return
    if str(error.filename).endswith("/lost+found"):  # which every ext4 disk has, and only root may read
        return
    raise error
