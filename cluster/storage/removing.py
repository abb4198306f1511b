"""Files removed."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from cluster.storage.filesystems import open_filesystem
from cluster.storage.listing import list_files
from cluster.storage.location import Location, is_remote, join, path_of
from cluster.storage.part_files import PARTS
from cluster.storage.plain_errors import said_plainly

_REMOVERS = 16
"""Files removed at a time."""


def remove(url: Location) -> None:
    """Remove one file; nothing happens if it isn't there."""
    filesystem, path = open_filesystem(url)
    with said_plainly("remove", url):
        try:
            filesystem.rm_file(path)
        except FileNotFoundError:
            return


def remove_folder(url: Location, first: str) -> None:
    """Remove all that is below a folder (path or URL), and it; nothing happens if it isn't there.

    Args:
        first: name of the file in it that goes before all others.
    """
    remove(join(url, first))
    if not is_remote(url):
        with said_plainly("remove", url), suppress(FileNotFoundError):
            shutil.rmtree(path_of(url))
        return
    with ThreadPoolExecutor(_REMOVERS) as threads:
        for done in [threads.submit(remove, file.url) for file in list_files(url)]:
            done.result()


def remove_parts(folder: Location) -> None:
    """Remove what killed writers left half-written below a local folder; nothing is left visible on object storage.

    Only for somebody who knows that nobody writes there any more.
    """
    if is_remote(folder):
        return
    with said_plainly("clean", folder):
        for part in path_of(folder).rglob(PARTS):
            part.unlink(missing_ok=True)
