"""Files locked by one process at a time."""

import errno
import fcntl
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from cluster import file_lock
from cluster.file_lock import lock_within, open_lock_file, remove_if_nobodys, try_lock, wait_for_lock


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


@pytest.mark.parametrize("kind", ["pipe", "socket", "folder", "link"])
@pytest.mark.timeout(20)
def test_something_else_that_has_a_locks_name_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "lock"
    with socket.socket(socket.AF_UNIX) as server:
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "socket":
            server.bind(str(path))
        elif kind == "folder":
            path.mkdir()
        else:
            path.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(OSError, match="expected a file to lock, found a") as caught:
            open_lock_file(path)
    assert caught.value.filename == str(path)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_where_the_file_system_knows_no_locks_work_goes_on_with_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    def flock(file: int, how: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)  # a file system without locks can't be mounted here
    monkeypatch.setattr(file_lock, "_warned", False)
    file = open_lock_file(tmp_path / "lock")
    try:
        assert try_lock(file) is None
        wait_for_lock(file)
        with pytest.raises(OSError, match="knows no locks"):
            lock_within(file, 0.1)
    finally:
        os.close(file)
    assert not remove_if_nobodys(str(tmp_path / "lock"))  # nobody knows whether somebody has it
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path}/lock: its file system knows no locks ({os.strerror(code)}); nothing keeps two processes apart "
        "that use it at once"
    ]


def test_other_errors_of_a_lock_are_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(file: int, how: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", flock)
    file = open_lock_file(tmp_path / "lock")
    try:
        for lock in (try_lock, wait_for_lock):
            with pytest.raises(OSError, match="Input/output"):
                lock(file)
    finally:
        os.close(file)
