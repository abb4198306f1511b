"""The node cache where its folder, its disk or the origin fails: what can be read is read, with one warning."""

import errno
import os
import shutil
import stat
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cached_content import (
    CONTENT,
    EXTENT,
    KIB,
    bytes_on_account,
    bytes_on_disk,
    files,
    make,
    read_all,
)

from cluster import storage
from cluster.errors import MissingFileError, UnreachableError
from cluster.node_cache import NodeCache
from cluster.node_cache.account import CacheAccount


def test_errors_of_the_origin_are_those_of_the_storage_and_leave_nothing(
    origin: str, tmp_path: Path, caches: Callable[..., NodeCache], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, version = caches(), storage.version(origin)
    with pytest.raises(MissingFileError):
        cache.read(f"{origin}x", version, 0, 5)

    def down(url: str, *more: Any) -> bytes:
        raise UnreachableError(f"{url}: down")

    with monkeypatch.context() as failing:
        failing.setattr(storage, "read_part", down)
        with pytest.raises(UnreachableError, match="down"):
            cache.read(origin, version, 0, 5)
        found = list(cache.read_parts([(origin, version, 0, 5), (origin, version, EXTENT, 5)]))
        assert [type(one) for one in found] == [UnreachableError] * 2
        while cache._prefetcher.pending:  # what was begun for the second part
            time.sleep(0.01)
    assert files(tmp_path / "cache") == []
    assert bytes_on_account(tmp_path / "cache") == (0, 0)
    assert list(cache.read_parts([(origin, version, 0, 5)])) == [CONTENT[:5]]


def test_a_folder_that_cannot_be_written_is_done_without(
    origin: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    cache, version = NodeCache(tmp_path / "file/cache", 10**9, EXTENT), storage.version(origin)
    read_all(cache, origin, version)
    cache.prefetch(origin, version, 0, 100)
    cache.discard(origin, version, 0, 100)
    assert list(cache.read_parts([(origin, version, 7, 9)])) == [CONTENT[7:16]]
    cache.close()
    assert cache.fetched_bytes == len(CONTENT) + 9
    assert len(caplog.records) == 1
    assert "can't keep anything here ([Errno 20] Not a directory" in caplog.text


def test_a_folder_of_another_user_is_done_without(
    origin: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 54_321)
    cache = NodeCache(tmp_path / "cache", 10**9, EXTENT)
    read_all(cache, origin, storage.version(origin))
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / 'cache'}: expected a folder that only this user can change, found one of another user (id "
        f"{os.getuid()}); remove it, or choose another place; bytes come straight from where they lie"
    ]
    assert files(tmp_path / "cache") == []


def test_a_cache_is_its_users_alone_whatever_the_umask_and_stays_in_use(origin: str, tmp_path: Path) -> None:
    folder, version = tmp_path / "cache", storage.version(origin)
    before = os.umask(0o002)
    try:
        for _ in range(3):
            cache = NodeCache(folder, 10**9, EXTENT)
            read_all(cache, origin, version)
            assert cache.hits > 0
            assert {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_dir()} == {0o700}
            cache.close()
            shutil.rmtree(folder / "sets")
            shutil.rmtree(folder / "users")
    finally:
        os.umask(before)


@pytest.mark.parametrize("planted", ["link", "another's"])
def test_bytes_that_somebody_else_has_put_into_the_cache_are_not_believed(
    origin: str, tmp_path: Path, caches: Callable[..., NodeCache], planted: str
) -> None:
    cache, version = caches(), storage.version(origin)
    read_all(cache, origin, version)
    extents = [path for path in (tmp_path / "cache/sets").rglob("*") if path.suffix in (".kept", ".ring")]
    assert extents
    for extent in extents:
        theirs = tmp_path / "theirs"
        theirs.write_bytes(bytes(extent.stat().st_size))
        extent.unlink()
        if planted == "link":
            extent.symlink_to(theirs)
        elif os.geteuid() == 0:
            theirs.rename(extent)
            os.chown(extent, 54_321, 54_321)
        else:
            pytest.skip("only root can give files to another user")
    read_all(cache, origin, version)  # which compares every byte
    read_all(caches(), origin, version)


def test_a_disk_that_runs_full_is_done_without(
    origin: str, tmp_path: Path, caches: Callable[..., NodeCache], caplog: pytest.LogCaptureFixture
) -> None:
    """A real one, of 2 MiB, that others fill while the cache is used; what is there is read on."""
    disk = tmp_path / "cache"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("a disk can't be mounted here")
    try:
        cache, version = NodeCache(disk, 10**9, EXTENT), storage.version(origin)
        read_all(cache, origin, version)
        assert cache.fetched_bytes == len(CONTENT)
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        (disk / "others").write_bytes(bytes(free - (80 * KIB)))  # less than 5 % is free now
        other = make(tmp_path / "data/other.tar", CONTENT)
        for _ in range(2):
            read_all(cache, other, storage.version(other))
        assert os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize >= 64 * KIB
        read_all(cache, origin, version)
        assert cache.hits > 100
        with suppress(OSError), (disk / "more").open("wb") as more:
            while True:
                more.write(bytes(4096))
        read_all(cache, other, storage.version(other))
        cache.close()
        assert os.statvfs(disk).f_bavail < 20
        read_all(NodeCache(disk, 10**9, EXTENT), other, storage.version(other))
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
    assert len(caplog.records) <= 2


def test_an_error_while_writing_loses_no_bytes_and_warns_once(
    origin: str,
    tmp_path: Path,
    caches: Callable[..., NodeCache],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cache, version = caches(), storage.version(origin)

    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(CacheAccount, "publish", full)
    read_all(cache, origin, version)
    assert len(caplog.records) == 1
    assert "No space left on device" in caplog.text
    assert files(tmp_path / "cache") == []
    assert bytes_on_account(tmp_path / "cache") == (0, 0)


def test_a_folder_removed_while_it_is_used_is_made_again(
    origin: str, tmp_path: Path, caches: Callable[..., NodeCache]
) -> None:
    cache, version = caches(max_bytes=10 * EXTENT), storage.version(origin)
    read_all(cache, origin, version)
    (tmp_path / "cache").rename(tmp_path / "away")
    read_all(cache, origin, version)
    assert 8 * EXTENT <= bytes_on_disk(tmp_path / "cache") <= 10 * EXTENT


def test_an_account_that_cannot_be_opened_keeps_nothing_open(tmp_path: Path) -> None:
    """It is tried again every half minute, and each time this process would count as a user more."""
    (tmp_path / "cache/ring.part").mkdir(parents=True)  # where the ring would be written
    before = os.listdir("/proc/self/fd")
    with pytest.raises(IsADirectoryError):
        CacheAccount(tmp_path / "cache", 64 * EXTENT, EXTENT)
    assert os.listdir("/proc/self/fd") == before
    assert os.listdir(tmp_path / "cache/users") == []


def test_a_closed_cache_stays_closed_whatever_was_under_way(
    origin: str, tmp_path: Path, caches: Callable[..., NodeCache], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fetch that fails after the end makes no new beginning."""
    cache, version, begun, closed = caches(), storage.version(origin), threading.Event(), threading.Event()

    def fail(*arguments: Any) -> None:
        begun.set()
        closed.wait(60)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(CacheAccount, "publish", fail)
    monkeypatch.setattr("cluster.node_cache.shared_folder._REST_S", 0.0)
    with ThreadPoolExecutor(1) as thread:
        reading = thread.submit(cache.read, origin, version, 0, 10)
        begun.wait(60)
        cache.close()
        closed.set()
        assert reading.result() == CONTENT[:10]
    assert cache.read(origin, version, 0, 10) == CONTENT[:10]
    assert os.listdir(tmp_path / "cache/users") == []


def test_processes_that_begin_at_once_all_have_the_cache(tmp_path: Path) -> None:
    def join(folder: Path) -> None:
        CacheAccount(folder, 1 << 20, 4096).close()

    with ThreadPoolExecutor(4) as threads:
        for number in range(300):
            for made in [threads.submit(join, tmp_path / str(number)) for _ in range(4)]:
                made.result()
