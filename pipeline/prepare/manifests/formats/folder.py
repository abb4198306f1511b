"""A folder or prefix, walked for video files."""

import os
from collections.abc import Callable, Iterator

from cluster import storage
from cluster.storage import FileInfo
from pipeline.errors import ManifestError
from pipeline.prepare.manifests.labels import check_utf8
from pipeline.prepare.manifests.list_file import Draft, ListFile, Naming
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.manifests.row_errors import WrongRow
from pipeline.prepare.manifests.sources import plain_name

_NAMES = "3gp|avi|flv|m2ts|m4v|mkv|mov|mp4|mpeg|mpg|mts|mxf|ogv|ts|vob|webm|wmv"
VIDEO_SUFFIXES = frozenset(f".{name}" for name in _NAMES.split("|"))


def read(file: ListFile) -> Iterator[Draft]:
    """All files below the folder that are named like videos, sorted by path; what is wrong with one of them is found
    out when it is prepared.

    Raises:
        ManifestError: there are none, or the folder or one below it can't be listed (which is left out where wrong rows
            are).
    """
    others, videos = 0, 0
    for path in walk(file.url, lambda sentence: file.wrong(0, sentence)):
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
        found = f"{others} other files" if others else "an empty one"
        raise ManifestError(f"{file.url}: expected a folder with videos (*.mp4, *.mkv, …), found {found}")


def is_video(url: str) -> bool:
    """Whether a file is named like a video."""
    return os.path.splitext(url)[1].lower() in VIDEO_SUFFIXES


def walk(folder: str, on_wrong: Callable[[str], None]) -> Iterator[str]:
    """Paths or URLs of all files below a folder or prefix, sorted; of a local folder only the names of the folders on
    the way are held.

    Args:
        on_wrong: told of a folder below it that can't be listed.

    Raises:
        ManifestError: the folder itself can't be listed.
    """
    if storage.is_remote(folder):
        yield from (file.url for file in storage.list_files(folder))
    else:
        yield from (path for path, _ in _walk_local(folder, on_wrong))


def walk_with_sizes(folder: str) -> Iterator[FileInfo]:
    """The same with sizes (bytes), without what can't be listed."""
    if storage.is_remote(folder):
        yield from storage.list_files(folder)
        return
    for path, entry in _walk_local(folder, lambda sentence: None):  # whoever reads the rows is told
        try:
            size = entry.stat().st_size
        except OSError:  # a link to nowhere; preparing it will say so
            size = -1
        yield FileInfo(path, size)


_Entry = tuple[str, "os.DirEntry[str]"]
_Identity = tuple[int, int]


def _walk_local(folder: str, on_wrong: Callable[[str], None]) -> Iterator[_Entry]:
    try:
        entries, place = _list(folder)
    except OSError as error:
        raise ManifestError(f"{folder}: can't list it: {error.strerror}") from None
    root = os.path.realpath(folder)
    # folders lie deeper in each other than functions may call each other
    on_the_way: list[tuple[Iterator[_Entry], _Identity]] = [(iter(entries), place)]
    while on_the_way:
        name, entry = next(on_the_way[-1][0], (None, None))
        if name is None or entry is None:
            on_the_way.pop()
        elif not name.endswith("/"):
            yield entry.path, entry
        elif not (entry.is_symlink() and f"{os.path.realpath(entry.path)}/".startswith(f"{root}/")):
            try:
                entries, place = _list(entry.path)
            except OSError as error:
                on_wrong(f"expected folders that can be listed, found {entry.path!r} ({error.strerror})")
                continue
            if place not in (above for _, above in on_the_way):
                on_the_way.append((iter(entries), place))


def _list(folder: str) -> tuple[list[_Entry], _Identity]:
    """What lies in a folder, in order, folders with a / behind their names; and which folder it is."""
    with os.scandir(folder) as found:
        # a folder sorts as its files do, which have a / behind its name
        entries = sorted((f"{entry.name}/" if _is_folder(entry) else entry.name, entry) for entry in found)
    place = os.stat(folder)
    return entries, (place.st_dev, place.st_ino)


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or to where nobody may look: preparing it will say so
        return False
