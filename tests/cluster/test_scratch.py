"""Scratch folders lie where TMPDIR says, go with their processes, and are nobody else's."""

import errno
import fcntl
import os
import stat
import subprocess
from pathlib import Path

import pytest

from cluster.errors import StorageError
from cluster.scratch import scratch_folder, temporary_place


def test_what_a_killed_process_left_is_removed_and_what_is_in_use_is_not(tmp_path: Path) -> None:
    left = tmp_path / "gavt-test-left"
    left.mkdir()
    (left / "lock").touch()
    (left / "half a shard.tar").write_bytes(b"x")
    os.utime(left / "lock", (0, 0))
    other = tmp_path / "somebody-else"
    other.mkdir()
    with scratch_folder("gavt-test-", str(tmp_path)) as first:
        os.utime(first / "lock", (0, 0))
        with scratch_folder("gavt-test-", str(tmp_path)) as second:
            assert first.is_dir()
            assert second.is_dir()
            assert not left.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["somebody-else"]


def test_it_lies_below_tmpdir_and_only_its_user_may_enter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert temporary_place() == tmp_path
    with scratch_folder("gavt-test-") as folder:
        assert folder.parent == tmp_path
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def left_behind(folder: Path) -> Path:
    folder.mkdir()
    (folder / "lock").touch()
    (folder / "content").write_text("kept")
    os.utime(folder / "lock", (0, 0))
    return folder


@pytest.mark.timeout(20)
def test_a_pipe_a_link_and_what_is_anothers_are_left_alone(tmp_path: Path) -> None:
    home = left_behind(tmp_path / "home")
    (tmp_path / "gavt-test-link").symlink_to(home)
    piped = left_behind(tmp_path / "gavt-test-pipe")
    (piped / "lock").unlink()
    os.mkfifo(piped / "lock")  # to open which would wait for ever
    os.utime(piped / "lock", (0, 0))
    linked = left_behind(tmp_path / "gavt-test-linked-lock")
    (linked / "lock").unlink()
    (linked / "lock").symlink_to(home / "lock")
    kept = [home, piped, linked]
    if os.geteuid() == 0:
        kept.append(left_behind(tmp_path / "gavt-test-theirs"))
        os.chown(kept[-1], 54_321, 54_321)
    with scratch_folder("gavt-test-", tmp_path):
        assert all((folder / "content").exists() for folder in kept)


def test_without_locks_nothing_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(file: int, how: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    left = left_behind(tmp_path / "gavt-test-maybe-alive")
    monkeypatch.setattr(fcntl, "flock", flock)  # a file system without locks can't be mounted here
    with scratch_folder("gavt-test-", tmp_path) as folder:
        assert folder.is_dir()
    assert left.is_dir()
    assert not folder.exists()


@pytest.mark.parametrize("place", ["missing", "file"])
def test_a_place_that_is_none_is_one_sentence_and_nothing_goes_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TMPDIR", str(tmp_path / place))
    with pytest.raises(StorageError) as caught, scratch_folder("gavt-test-"):
        pass
    found = "No such file or directory" if place == "missing" else "Not a directory"
    assert str(caught.value) == (
        f"{tmp_path / place}: expected a folder for temporary files that can be written to, found: {found}; make room "
        "there, or name another one by TMPDIR"
    )


def test_a_disk_that_runs_full_is_one_sentence_and_nothing_is_left(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("a disk can't be mounted here")
    try:
        with (
            pytest.raises(StorageError, match=rf"^{disk}: .* found: No space left on device; .* TMPDIR$"),
            scratch_folder("gavt-test-", disk) as folder,
        ):
            (folder / "large").write_bytes(bytes(1 << 20))
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", disk], check=True)
