"""A folder or prefix, walked for video files."""

import os
from collections.abc import Iterator

from cluster import storage
from cluster.storage import FileInfo
from pipeline.errors import ManifestError
from pipeline.prepare.manifests.labels import check_utf8
from pipeline.prepare.manifests.list_file import Draft, ListFile, Naming
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.manifests.sources import plain_name
from pipeline.prepare.manifests.wrong import WrongRow

_NAMES = "3gp|avi|flv|m2ts|m4v|mkv|mov|mp4|mpeg|mpg|mts|mxf|ogv|ts|vob|webm|wmv"
VIDEO_SUFFIXES = frozenset(f".{name}" for name in _NAMES.split("|"))


def read(file: ListFile) -> Iterator[Draft]:
    """All files below the folder that are named like videos, sorted by path.

    Raises:
        ManifestError: there are none.
    """
    others, videos = 0, 0
    for path in walk(file.url):
        if not is_video(path):
            others += 1
            continue
        videos += 1
        try:
            check_utf8(path)
        except WrongRow as error:
            file.wrong(0, error)
            continue
        yield 0, Naming.FILE, VideoRow(plain_name(path), path)
    if not videos:
        raise ManifestError(f"{file.url}: expected a folder with videos (*.mp4, *.mkv, …), found {others} other files")


def is_video(url: str) -> bool:
    """Whether a file is named like a video."""
    return os.path.splitext(url)[1].lower() in VIDEO_SUFFIXES


def walk(folder: str) -> Iterator[str]:
    """Paths or URLs of all files below a folder or prefix, sorted; of a local folder only the names of the folders on
    the way are held."""
    if storage.is_remote(folder):
        yield from (file.url for file in storage.list_files(folder))
    else:
        yield from (path for path, _ in _walk_local(folder))


def walk_with_sizes(folder: str) -> Iterator[FileInfo]:
    """The same with sizes (bytes)."""
    if storage.is_remote(folder):
        yield from storage.list_files(folder)
        return
    for path, entry in _walk_local(folder):
        try:
            size = entry.stat().st_size
        except OSError:  # a link to nowhere; preparing it will say so
            size = -1
        yield FileInfo(path, size)


def _walk_local(folder: str, above: tuple[tuple[int, int], ...] = ()) -> Iterator[tuple[str, "os.DirEntry[str]"]]:
    try:
        with os.scandir(folder) as found:
            # a folder sorts as its files do, which have a / behind its name
            entries = sorted((entry.name + "/" if entry.is_dir() else entry.name, entry) for entry in found)
        place = os.stat(folder)
    except OSError as error:
        raise ManifestError(f"{folder}: can't list it: {error.strerror}") from None
    here = (place.st_dev, place.st_ino)
    if here in above:
        return  # a link to a folder that this one lies in
    for name, entry in entries:
        if name.endswith("/"):
            yield from _walk_local(entry.path, (*above, here))
        else:
            yield entry.path, entry
