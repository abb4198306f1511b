"""A disk made full."""

from contextlib import suppress
from pathlib import Path


def fill(disk: Path) -> None:
    """Leave no room on the disk of a folder."""
    with suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(4096))
