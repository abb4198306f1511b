"""Files locked by one process at a time."""

import fcntl
import os
from pathlib import Path
from typing import Any

import pytest

from cluster.node_cache.file_lock import remove_if_nobodys


def test_a_file_is_removed_unless_somebody_has_locked_it(tmp_path: Path) -> None:
    path = tmp_path / "part"
    with path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert not remove_if_nobodys(str(path))
    assert path.exists()
    assert remove_if_nobodys(str(path))
    assert not path.exists()
    assert remove_if_nobodys(str(path))


def test_a_file_made_anew_by_another_at_that_moment_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The owner removes the file between the look at it and the lock; the next one has made and locked its own."""
    path, flock = tmp_path / "part", fcntl.flock
    path.touch()
    another: list[int] = []

    def lock(file: int, how: int) -> Any:
        if not another:
            path.unlink()
            another.append(os.open(path, os.O_RDWR | os.O_CREAT))
            flock(another[0], fcntl.LOCK_EX)
        return flock(file, how)

    monkeypatch.setattr(fcntl, "flock", lock)
    try:
        assert not remove_if_nobodys(str(path))
        assert os.stat(path).st_ino == os.fstat(another[0]).st_ino
    finally:
        os.close(another[0])
