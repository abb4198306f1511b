"""Local files that appear whole: they are written beside their place, as `.NAME.RANDOM.part`, and moved into it."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.storage.location import Location, path_of

PARTS = ".*.part"
"""Pattern of their names; what a killed process left is named so, too."""


def is_part(name: str) -> bool:
    """Whether a local file is one that `replaced_when_done` writes into, or what a killed process left of it."""
    last = name.rsplit("/", 1)[-1]
    return last.startswith(".") and last.endswith(".part")


@contextmanager
def replaced_when_done(target: Location, *, durable: bool = True) -> Iterator[Path]:
    """A temporary file beside `target`; it takes the target's place when the block ends well."""
    with part_beside(target) as part:
        yield part
        if durable:
            make_durable(part)
        part.replace(path_of(target))
        if durable:
            make_durable(part.parent)  # the new name is in there


@contextmanager
def part_beside(target: Location) -> Iterator[Path]:
    """A temporary file beside `target`, which others may read and write as the umask says; removed at the end where it
    still has its name."""
    path = path_of(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666))
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


def make_durable(path: Location) -> None:
    """Wait until the disk has what is in a local file, or which names are in a local folder."""
    handle = os.open(path_of(path), os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # as network file systems say of folders, for which they do nothing
            raise
    finally:
        os.close(handle)
