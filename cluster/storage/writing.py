"""Whole files, written atomically."""

import errno
import os
from contextlib import suppress
from pathlib import Path

from cluster.errors import MissingFileError, NotOnceError, StorageError
from cluster.storage.filesystems import open_storage
from cluster.storage.location import Location, is_remote, path_of
from cluster.storage.part_files import make_durable, part_beside, replaced_when_done
from cluster.storage.plain_errors import said_plainly
from cluster.storage.versions import FileVersion, version

_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


def write_bytes(url: Location, content: bytes | memoryview, *, durable: bool = True) -> None:
    """Write a whole file, atomically; folders on the way are made.

    Args:
        url: path or URL.
        content: what the file then holds.
        durable: wait until a local disk has it, so that it survives a power cut. False is for many small files that can
            be made again; they survive the death of the process all the same.
    """
    if is_remote(url):
        storage, path = open_storage(url)
        with said_plainly("write", url):
            storage.pipe_file(path, content)
        return
    with said_plainly("write", url), replaced_when_done(url, durable=durable) as part:
        part.write_bytes(content)


def write_text(url: Location, text: str) -> None:
    """Write a whole UTF-8 text file, atomically."""
    write_bytes(url, text.encode())


def create(url: Location, content: bytes) -> bool:
    """Write a whole file, atomically, unless one is there; whether it was written.

    Of several that create the same file at once, one succeeds. On object storage this is a conditional write, on which
    runs and jobs rely not to be two; a server that does not honour it is found out at the first one.

    Raises:
        StorageError: the storage can't do that, or the file can't be written.
    """
    with said_plainly("write", url):
        if is_remote(url):
            return _put_once(url, content)
        with part_beside(url) as part:
            part.write_bytes(content)
            make_durable(part)
            return _placed_if_absent(part, path_of(url))


def _put_once(url: Location, content: bytes) -> bool:
    storage, path = open_storage(url)
    bucket = path.partition("/")[0]
    try:
        written = storage.put_if_absent(path, content)
        if written and bucket not in storage.honoured:
            # a server that ignores the condition writes a second time, to the byte what is there
            if storage.put_if_absent(path, content):
                storage.rm_file(path)
                raise NotOnceError("it replaces what was to be written once")
            storage.honoured.add(bucket)
    except NotOnceError as error:
        raise StorageError(
            f"{os.fspath(url)}: expected a storage that can write a file only where none is, which keeps two jobs from "
            f"taking the same run, found one that can't: {error}"
        ) from error
    return written


def replace(url: Location, content: bytes, before: FileVersion) -> bool:
    """Write a whole file, atomically, in place of one version of it; whether that was still there.

    On object storage this is a conditional write: of several that replace the same version at once, one succeeds. On
    local disk, and on a server that does not know it, another's write may pass between the look and the own.
    """
    if is_remote(url):
        storage, path = open_storage(url)
        with said_plainly("write", url), suppress(NotOnceError):
            return storage.put_if_same(path, content, before.etag)
    try:
        if version(url) != before:
            return False
    except MissingFileError:
        return False
    write_bytes(url, content, durable=False)
    return True


def _placed_if_absent(part: Path, target: Path) -> bool:
    """Give a whole file the name of `target` too unless something has it; whether it was given.

    Where the file system knows no hard links (FAT, some network and FUSE file systems), an empty file takes the name,
    which only one of several can make, and the whole one takes its place: nobody ever reads half of it.
    """
    try:
        os.link(part, target)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        try:
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666))
        except FileExistsError:
            return False
        part.replace(target)
    return True
