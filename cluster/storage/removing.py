"""Files removed."""

from cluster.storage.filesystems import open_filesystem
from cluster.storage.location import Location, is_remote, path_of
from cluster.storage.part_files import PARTS
from cluster.storage.plain_errors import said_plainly


def remove(url: Location) -> None:
    """Remove one file; nothing happens if it isn't there."""
    filesystem, path = open_filesystem(url)
    with said_plainly("remove", url):
        try:
            filesystem.rm_file(path)
        except FileNotFoundError:
            return


def remove_parts(folder: Location) -> None:
    """Remove what killed writers left half-written below a local folder; nothing is left visible on object storage.

    Only for somebody who knows that nobody writes there any more.
    """
    if is_remote(folder):
        return
    with said_plainly("clean", folder):
        for part in path_of(folder).rglob(PARTS):
            part.unlink(missing_ok=True)
