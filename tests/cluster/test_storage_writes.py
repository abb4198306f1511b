"""Writes are atomic: old or new, never half, and nothing is left of those that failed."""

import errno
import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cluster import storage
from cluster.errors import StorageError


def test_a_version_is_replaced_once(folder: str) -> None:
    url = f"{folder}/file"
    storage.write_bytes(url, b"first")
    before = storage.version(url)
    assert storage.replace(url, b"second", before)
    assert not storage.replace(url, b"third", before)
    assert storage.read_bytes(url) == b"second"
    before = storage.version(url)
    storage.remove(url)
    assert not storage.replace(url, b"fourth", before)
    assert not storage.exists(url)


def test_a_write_that_fails_leaves_the_old_file_and_no_rubbish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = tmp_path / "file.txt"
    storage.write_text(url, "old")

    def full(self: Path, content: bytes) -> int:
        with open(self, "wb") as file:
            file.write(content[:2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageError, match=r"file\.txt: can't write it: .*No space left"):
        storage.write_text(url, "new")
    assert url.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_what_a_killed_writer_left_is_not_listed(tmp_path: Path) -> None:
    storage.write_text(tmp_path / "x.tar", "whole")
    (tmp_path / ".x.tar.abc123.part").write_text("ha")
    (tmp_path / ".hidden").write_text("a user's own")
    assert [Path(file.url).name for file in storage.list_files(tmp_path)] == [".hidden", "x.tar"]


def test_what_killed_writers_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    for name in (".a.tar.x1y2.part", "below/.b.json.z.part", "c.part", ".hidden"):
        (tmp_path / name).write_bytes(b"x")
    storage.remove_parts(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == [".hidden", "below", "c.part"]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600), (0o027, 0o640)])
def test_written_files_have_the_mode_that_the_umask_says(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        storage.write_text(tmp_path / "written", "1")
        storage.upload(tmp_path / "written", tmp_path / "copied")
        assert storage.create(tmp_path / "created", b"1")
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == dict.fromkeys(("written", "copied", "created"), mode)


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def test_where_there_are_no_hard_links_one_of_many_creates_a_file_and_nobody_reads_half_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def link(source: Path, target: Path) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", link)  # FAT, which has none, can't be mounted everywhere
    url, contents = tmp_path / "lock", [bytes([owner]) * 100_000 for owner in range(8)]
    seen = set()
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            if url.exists():
                seen.add(url.read_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with ThreadPoolExecutor(8) as threads:
            won = list(threads.map(lambda content: storage.create(url, content), contents))
    finally:
        done.set()
        watcher.join()
    assert sum(won) == 1
    assert url.read_bytes() == contents[won.index(True)]
    assert seen <= {b"", contents[won.index(True)]}
    assert os.listdir(tmp_path) == ["lock"]


def test_a_durable_write_is_on_disk_under_its_name_before_it_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[str, list[str]]] = []
    fsync = os.fsync

    def noting(file: int) -> None:
        fsync(file)
        synced.append((os.readlink(f"/proc/self/fd/{file}"), os.listdir(tmp_path)))

    monkeypatch.setattr(os, "fsync", noting)
    storage.write_bytes(tmp_path / "x", b"1")
    (content, (part,)), folder = synced
    assert content == str(tmp_path / part)
    assert folder == (str(tmp_path), ["x"])
    del synced[:]
    storage.write_bytes(tmp_path / "y", b"1", durable=False)
    assert synced == []
