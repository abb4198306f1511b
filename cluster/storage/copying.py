"""Files copied between local disk and storage."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.errors import MissingFileError, StorageError
from cluster.os_errors import OF_THE_DISK
from cluster.scratch import scratch_folder
from cluster.storage.below import why_not_below
from cluster.storage.filesystems import open_storage
from cluster.storage.location import Location, is_remote, path_of
from cluster.storage.part_files import replaced_when_done
from cluster.storage.plain_errors import said_plainly


def upload(local_path: Location, url: Location) -> None:
    """Copy a local file to a path or URL; it appears there whole or not at all."""
    if not path_of(local_path).is_file():
        raise MissingFileError(f"{os.fspath(local_path)}: no such file")
    if is_remote(url):
        storage, path = open_storage(url)
        with said_plainly("write", url):
            storage.put_file(os.fspath(path_of(local_path)), path)
        return
    with said_plainly("write", url), replaced_when_done(url) as part:
        shutil.copyfile(path_of(local_path), part)


def download(url: Location, local_path: Location) -> None:
    """Copy a file to a local path; it appears there whole or not at all."""
    if not is_remote(url):
        upload(path_of(url), local_path)
        return
    storage, path = open_storage(url)
    with said_plainly("write", local_path), replaced_when_done(local_path) as part:
        try:
            with said_plainly("read", url):
                storage.get_file(path, os.fspath(part))
        except StorageError as error:
            cause = error.__cause__
            if isinstance(cause, OSError) and cause.errno in OF_THE_DISK:  # where it goes, not where it comes from
                raise cause from None
            raise


@contextmanager
def local_copy(url: Location) -> Iterator[Path]:
    """A local path with the file's content: the file itself where it is local, else a copy removed at the end."""
    if not is_remote(url):
        path = path_of(url)
        if not path.exists():
            raise MissingFileError(f"{os.fspath(url)}: no such file")
        yield path
        return
    with scratch_folder("gavt-copy-") as folder:
        name = os.fspath(url).rsplit("/", 1)[-1]
        copy = folder / "copy" / (name if why_not_below(name) is None else "file")
        download(url, copy)
        yield copy
