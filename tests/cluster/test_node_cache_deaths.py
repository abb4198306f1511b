"""The node cache where processes are killed or stopped: no byte is wrong, nobody waits, their room is free again."""

import fcntl
import os
import random
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cached_content import (
    CONTENT,
    EXTENT,
    PROCESSES,
    bytes_on_account,
    bytes_on_disk,
    files,
    process,
    read_all,
    read_at_random,
    slowly,
)

from cluster import storage
from cluster.node_cache import NodeCache


def _kill_in_the_middle(origin: str, folder: Path, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """Two read at random; one is killed at a random moment, the other goes on; at the end both are dead."""
    slowly(monkeypatch, 0.003)
    version, choose = storage.version(origin), random.Random(1)
    max_bytes = 12 * EXTENT
    parts_left = 0
    with process(read_at_random, folder, origin, version, max_bytes, 99) as staying:
        for turn in range(times):
            with process(read_at_random, folder, origin, version, max_bytes, turn) as victim:
                time.sleep(choose.uniform(0.01, 0.15))
                assert victim.is_alive()
                os.kill(victim.pid, signal.SIGKILL)
                victim.join()
            assert staying.is_alive()
            assert bytes_on_disk(folder) <= max_bytes
        parts_left += len(files(folder, ".part"))
    assert parts_left <= times + 1
    monkeypatch.undo()
    cache = NodeCache(folder, max_bytes, EXTENT)  # counts anew, since somebody died
    try:
        assert files(folder, ".part") == []
        assert bytes_on_account(folder)[0] == bytes_on_disk(folder) <= max_bytes
        assert len(list((folder / "users").iterdir())) == 1
        read_all(cache, origin, version)
        read_all(cache, origin, version)
        assert cache.hits > cache.misses
    finally:
        cache.close()


def test_killed_in_the_middle_nothing_is_wrong_and_nothing_is_left(
    origin: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _kill_in_the_middle(origin, tmp_path / "cache", monkeypatch, 6)


@pytest.mark.slow
def test_killed_a_hundred_times(origin: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _kill_in_the_middle(origin, tmp_path / "cache", monkeypatch, 100)


def test_a_killed_fetcher_s_extent_is_fetched_by_who_waits(
    origin: str, tmp_path: Path, caches: Callable[..., NodeCache], monkeypatch: pytest.MonkeyPatch
) -> None:
    version = storage.version(origin)
    with monkeypatch.context() as forever:
        slowly(forever, 60)
        killed = PROCESSES.Process(target=read_at_random, args=(tmp_path / "cache", origin, version, 10**9, 0))
        killed.start()
    while not any(path.stat().st_size for path in files(tmp_path / "cache", ".part")):
        time.sleep(0.002)
    start = int(files(tmp_path / "cache", ".part")[0].stem) * EXTENT
    cache = caches()
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(cache.read, origin, version, start, 10)
        time.sleep(0.05)
        assert not waiting.done()
        killed.kill()
        killed.join()
        assert waiting.result() == CONTENT[start : start + 10]
    assert (cache.misses, files(tmp_path / "cache", ".part")) == (1, [])
    assert bytes_on_account(tmp_path / "cache")[0] == bytes_on_disk(tmp_path / "cache") == EXTENT


def test_a_process_that_was_stopped_stops_nobody_else(
    origin: str, tmp_path: Path, caches: Callable[..., NodeCache], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scheduler suspends a job in the middle of a fetch, or while it holds the account."""
    version, cache = storage.version(origin), caches()
    monkeypatch.setattr("cluster.node_cache.cache._WAIT_S", 0.2)
    monkeypatch.setattr("cluster.node_cache.account._LOCK_S", 0.2)
    with monkeypatch.context() as forever:
        slowly(forever, 60)
        stopped = PROCESSES.Process(target=read_at_random, args=(tmp_path / "cache", origin, version, 10**9, 0))
        stopped.start()
    try:
        while not any(path.stat().st_size for path in files(tmp_path / "cache", ".part")):
            time.sleep(0.002)
        start = int(files(tmp_path / "cache", ".part")[0].stem) * EXTENT
        os.kill(stopped.pid or 0, signal.SIGSTOP)
        assert cache.read(origin, version, start, 10) == CONTENT[start : start + 10]
        assert cache.fetched_bytes == 10
        other = (start + 2 * EXTENT) % (40 * EXTENT)
        with (tmp_path / "cache/account").open("rb") as account:
            fcntl.flock(account, fcntl.LOCK_EX)
            assert cache.read(origin, version, other, 10) == CONTENT[other : other + 10]
    finally:
        stopped.kill()
        stopped.join()


def test_deaths_among_the_living_do_not_eat_up_the_room(
    origin: str, tmp_path: Path, caches: Callable[..., NodeCache], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the dead had reserved is free again as soon as room is needed."""
    version, cache = storage.version(origin), caches(max_bytes=8 * EXTENT)
    with monkeypatch.context() as forever:
        slowly(forever, 60)
        dying = [
            PROCESSES.Process(target=read_at_random, args=(tmp_path / "cache", origin, version, 8 * EXTENT, seed))
            for seed in range(8)
        ]
        for one in dying:
            one.start()
        while bytes_on_account(tmp_path / "cache")[0] < 4 * EXTENT:
            time.sleep(0.005)
        for one in dying:
            one.kill()
            one.join()
    read_all(cache, origin, version)
    used = bytes_on_account(tmp_path / "cache")[0]
    assert 7 * EXTENT < used == bytes_on_disk(tmp_path / "cache") <= 8 * EXTENT


def test_a_start_of_the_machine_makes_what_was_written_last_doubtful(
    origin: str, tmp_path: Path, caches: Callable[..., NodeCache], monkeypatch: pytest.MonkeyPatch
) -> None:
    version, before = storage.version(origin), caches()
    read_all(before, origin, version)
    before.close()
    stored = sorted(files(tmp_path / "cache"))
    for path in stored[:30]:
        os.utime(path, (time.time() - 3600,) * 2)
    monkeypatch.setattr("cluster.node_cache.totals.boot_id", lambda: "another")
    caches()
    assert sorted(files(tmp_path / "cache")) == stored[:30]
    assert bytes_on_account(tmp_path / "cache")[0] == bytes_on_disk(tmp_path / "cache")
