"""The node cache: right bytes whatever happens, each extent fetched once, never beyond its bound, hits every epoch."""

import errno
import fcntl
import multiprocessing
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cluster import cache_account, node_cache, storage
from cluster.cache_account import CacheAccount
from cluster.errors import ChangedFileError, MissingFileError, StorageError, UnreachableError
from cluster.node_cache import NodeCache, default_folder
from cluster.storage import FileVersion

KIB = 1 << 10
EXTENT = 16 * KIB
CONTENT = random.Random(0).randbytes(40 * EXTENT + 777)
PROCESSES = multiprocessing.get_context("fork")


@pytest.fixture
def origin(tmp_path: Path) -> str:
    """A file of `CONTENT`."""
    return make(tmp_path / "data/shard-000000.tar", CONTENT)


@pytest.fixture
def caches(tmp_path: Path) -> Iterator[Callable[..., NodeCache]]:
    """Makes caches of one folder, as many processes would."""
    made: list[NodeCache] = []

    def cache(max_bytes: int = 64 * EXTENT, extent_bytes: int = EXTENT) -> NodeCache:
        made.append(NodeCache(tmp_path / "cache", max_bytes, extent_bytes))
        return made[-1]

    yield cache
    for one in made:
        one.close()


def make(path: Path, content: bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return str(path)


def files(folder: Path, ending: str = "") -> list[Path]:
    return [path for path in (folder / "sets").rglob(f"*{ending}") if path.is_file()]


def bytes_on_disk(folder: Path) -> int:
    """Of extents and parts, while nobody changes them."""
    with (folder / "account").open("rb") as account:
        fcntl.flock(account, fcntl.LOCK_EX)
        return sum(-(-path.stat().st_size // 4096) * 4096 for path in files(folder))


def bytes_on_account(folder: Path) -> tuple[int, int]:
    """In use, and kept."""
    used, kept, *_ = (folder / "account").read_text("ascii").split()
    return int(used), int(kept)


@contextmanager
def process(work: Callable[..., Any], *arguments: Any) -> Iterator[Any]:
    """A process that does it; killed with the block."""
    running = PROCESSES.Process(target=work, args=arguments)
    running.start()
    try:
        yield running
    finally:
        running.kill()
        running.join()


def slowly(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Answers of the origin take a while."""
    read_part = storage.read_part

    def slow(*arguments: Any) -> bytes:
        time.sleep(seconds)
        return read_part(*arguments)

    monkeypatch.setattr(storage, "read_part", slow)


def read_all(cache: NodeCache, url: str, version: FileVersion) -> None:
    """Read whole in small pieces, each of which has to be right."""
    for start in range(0, len(CONTENT), 5000):
        length = min(5000, len(CONTENT) - start)
        assert cache.read(url, version, start, length) == CONTENT[start : start + length]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    max_extents=st.integers(0, 50),
    extent_bytes=st.sampled_from([4096, EXTENT, 10_000]),
    parts=st.lists(st.tuples(st.integers(0, len(CONTENT)), st.integers(0, 3 * EXTENT)), max_size=20),
)
@example(max_extents=64, extent_bytes=EXTENT, parts=[(0, len(CONTENT)), (len(CONTENT), 0), (EXTENT - 1, 2)])
def test_bytes_are_those_of_the_origin(
    origin: str, tmp_path: Path, max_extents: int, extent_bytes: int, parts: list[tuple[int, int]]
) -> None:
    cache, version = NodeCache(tmp_path / "cache", max_extents * extent_bytes, extent_bytes), storage.version(origin)
    try:
        whole = [(origin, version, start, min(length, len(CONTENT) - start)) for start, length in parts]
        for _, _, start, length in whole:
            assert cache.read(origin, version, start, length) == CONTENT[start : start + length]
        assert list(cache.read_parts(whole)) == [CONTENT[start : start + length] for _, _, start, length in whole]
    finally:
        cache.close()


def test_a_part_outside_of_the_file_is_an_error(origin: str, caches: Callable[..., NodeCache]) -> None:
    version = storage.version(origin)
    for start, length in ((-1, 5), (0, -1), (len(CONTENT) - 4, 5)):
        with pytest.raises(StorageError, match=f"expected a part of its {len(CONTENT)} bytes, found {start}"):
            caches().read(origin, version, start, length)


def test_what_was_read_comes_from_the_cache(
    origin: str, caches: Callable[..., NodeCache], monkeypatch: pytest.MonkeyPatch
) -> None:
    version = storage.version(origin)
    read_all(caches(), origin, version)
    monkeypatch.setattr(storage, "read_part", None)
    later = caches()
    read_all(later, origin, version)
    assert (later.misses, later.fetched_bytes) == (0, 0)
    assert later.hits >= len(CONTENT) // 5000


def _read_and_say(folder: Path, url: str, version: FileVersion, said: Any, seed: int) -> None:
    cache = NodeCache(folder, 64 * EXTENT, EXTENT)
    starts = list(range(0, len(CONTENT) - 5000, 5000))
    random.Random(seed).shuffle(starts)
    for start in starts:
        assert cache.read(url, version, start, 5000) == CONTENT[start : start + 5000]
    read_all(cache, url, version)
    said.put(cache.fetched_bytes)
    cache.close()


def test_processes_fetch_each_extent_once(origin: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slowly(monkeypatch, 0.006)
    said = PROCESSES.SimpleQueue()
    arguments = (_read_and_say, tmp_path / "cache", origin, storage.version(origin), said)
    with process(*arguments, 1), process(*arguments, 2), process(*arguments, 3):
        fetched = [said.get() for _ in range(3)]
    assert sum(fetched) == len(CONTENT)
    assert files(tmp_path / "cache", ".part") == []
    assert sum(map(bool, fetched)) > 1, "they took turns: nothing was shown"


def test_threads_fetch_each_extent_once(
    origin: str, tmp_path: Path, caches: Callable[..., NodeCache], monkeypatch: pytest.MonkeyPatch
) -> None:
    slowly(monkeypatch, 0.001)
    cache, version = caches(), storage.version(origin)
    with ThreadPoolExecutor(16) as threads:
        for done in [threads.submit(read_all, cache, origin, version) for _ in range(16)]:
            done.result()
    assert cache.fetched_bytes == len(CONTENT)
    assert len(files(tmp_path / "cache")) == 41


def _read_at_random(folder: Path, url: str, version: FileVersion, max_bytes: int, seed: int) -> None:
    cache, choose = NodeCache(folder, max_bytes, EXTENT), random.Random(seed)
    while True:
        start = choose.randrange(len(CONTENT) - 3000)
        assert cache.read(url, version, start, 3000) == CONTENT[start : start + 3000]
        if choose.random() < 0.05:
            cache.discard(url, version, start, 3000)


def _kill_in_the_middle(origin: str, folder: Path, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """Two read at random; one is killed at a random moment, the other goes on; at the end both are dead."""
    slowly(monkeypatch, 0.003)
    version, choose = storage.version(origin), random.Random(1)
    max_bytes = 12 * EXTENT
    parts_left = 0
    with process(_read_at_random, folder, origin, version, max_bytes, 99) as staying:
        for turn in range(times):
            with process(_read_at_random, folder, origin, version, max_bytes, turn) as victim:
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
        killed = PROCESSES.Process(target=_read_at_random, args=(tmp_path / "cache", origin, version, 10**9, 0))
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
    monkeypatch.setattr(node_cache, "_WAIT_S", 0.2)
    monkeypatch.setattr(cache_account, "_LOCK_S", 0.2)
    with monkeypatch.context() as forever:
        slowly(forever, 60)
        stopped = PROCESSES.Process(target=_read_at_random, args=(tmp_path / "cache", origin, version, 10**9, 0))
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
            PROCESSES.Process(target=_read_at_random, args=(tmp_path / "cache", origin, version, 8 * EXTENT, seed))
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


def test_the_bound_holds_while_processes_read(origin: str, tmp_path: Path) -> None:
    folder, version, max_bytes = tmp_path / "cache", storage.version(origin), 10 * EXTENT
    arguments = (_read_at_random, folder, origin, version, max_bytes)
    most = 0
    with process(*arguments, 1) as one, process(*arguments, 2) as two, process(*arguments, 3) as three:
        began = time.monotonic()
        while time.monotonic() < began + (0.7 if most > 0.8 * max_bytes else 20):
            with suppress(FileNotFoundError):
                most = max(most, bytes_on_disk(folder))
        assert one.is_alive()
        assert two.is_alive()
        assert three.is_alive()
    assert 0.8 * max_bytes < most <= max_bytes


def test_a_lower_limit_makes_room_at_once(origin: str, tmp_path: Path, caches: Callable[..., NodeCache]) -> None:
    version, large = storage.version(origin), caches()
    read_all(large, origin, version)
    assert bytes_on_disk(tmp_path / "cache") > 40 * EXTENT
    small = caches(max_bytes=12 * EXTENT)
    assert bytes_on_account(tmp_path / "cache")[0] == bytes_on_disk(tmp_path / "cache") <= 12 * EXTENT
    read_all(small, origin, version)
    assert bytes_on_disk(tmp_path / "cache") <= 12 * EXTENT


def test_a_replaced_file_gives_new_bytes_and_the_old_ones_go(
    origin: str, tmp_path: Path, caches: Callable[..., NodeCache]
) -> None:
    cache, before = caches(), storage.version(origin)
    read_all(cache, origin, before)
    other = bytes(reversed(CONTENT))
    Path(origin).write_bytes(other)
    os.utime(origin, ns=(1, 1))
    after = storage.version(origin)
    assert cache.read(origin, after, 100, 900) == other[100:1000]
    assert len(files(tmp_path / "cache")) == 1
    with pytest.raises(ChangedFileError):
        cache.read(origin, before, 0, 5)
    assert len(files(tmp_path / "cache")) == 1
    assert bytes_on_account(tmp_path / "cache")[0] == EXTENT


def test_files_of_one_name_are_kept_apart(tmp_path: Path, caches: Callable[..., NodeCache]) -> None:
    urls = [make(tmp_path / folder / "00000.tar", folder.encode() * 9) for folder in ("one", "two")]
    for _ in range(2):
        assert [caches().read(url, storage.version(url), 0, 27) for url in urls] == [b"one" * 9, b"two" * 9]


def test_a_second_shuffled_epoch_hits_as_much_as_the_cache_holds(
    tmp_path: Path, caches: Callable[..., NodeCache]
) -> None:
    """40 % of the data fit. A cache that drops the oldest would hit next to nothing."""
    urls = [make(tmp_path / f"data/{number:03d}.tar", os.urandom(EXTENT)) for number in range(200)]
    versions = [storage.version(url) for url in urls]
    cache = caches(max_bytes=80 * EXTENT)
    for epoch in range(3):
        order = list(range(200))
        random.Random(epoch).shuffle(order)
        hits = cache.hits
        for number in order:
            cache.read(urls[number], versions[number], 0, 100)
    used, kept = bytes_on_account(tmp_path / "cache")
    assert used == 80 * EXTENT
    assert kept == 60 * EXTENT
    assert 0.3 <= (cache.hits - hits) / 200 <= 0.4


def test_samples_near_to_each_other_are_fetched_once_although_the_cache_is_full(
    tmp_path: Path, origin: str, caches: Callable[..., NodeCache]
) -> None:
    """The ring has a quarter: what was read a moment ago is still there."""
    cache, version = caches(max_bytes=16 * EXTENT), storage.version(origin)
    read_all(cache, origin, version)
    assert cache.fetched_bytes == len(CONTENT)
    assert len(files(tmp_path / "cache", ".ring")) == 4


def test_what_nobody_uses_goes_first_and_what_is_used_stays(tmp_path: Path, caches: Callable[..., NodeCache]) -> None:
    sets = {name: make(tmp_path / name / "x.tar", CONTENT[: 16 * EXTENT]) for name in ("gone", "used", "new")}

    def read(cache: NodeCache, name: str) -> None:
        cache.read(sets[name], storage.version(sets[name]), 0, 16 * EXTENT)

    leaving, staying, last = caches(48 * EXTENT), caches(48 * EXTENT), caches(48 * EXTENT)
    read(leaving, "gone")
    read(staying, "used")
    leaving.close()
    read(last, "new")
    read(last, "new")
    assert (last.hits, last.misses) == (16, 16)
    make(tmp_path / "more/x.tar", CONTENT)
    sets["more"] = str(tmp_path / "more/x.tar")
    read(last, "more")
    read(staying, "used")
    read(last, "new")
    assert (staying.hits, staying.misses) == (16, 16)
    assert last.hits > 16
    gone = caches(48 * EXTENT)
    read(gone, "gone")
    assert gone.hits == 0


def test_a_truncated_extent_is_fetched_again(origin: str, tmp_path: Path, caches: Callable[..., NodeCache]) -> None:
    cache, version = caches(), storage.version(origin)
    read_all(cache, origin, version)
    for number, path in enumerate(sorted(files(tmp_path / "cache"))):
        os.truncate(path, number * 100 % 777)
    read_all(cache, origin, version)
    fetched = cache.fetched_bytes
    assert fetched == 2 * len(CONTENT)
    assert bytes_on_account(tmp_path / "cache")[0] == bytes_on_disk(tmp_path / "cache")
    read_all(cache, origin, version)
    assert cache.fetched_bytes == fetched


def test_discarded_bytes_come_from_the_origin_again(
    origin: str, tmp_path: Path, caches: Callable[..., NodeCache]
) -> None:
    cache, version = caches(), storage.version(origin)
    read_all(cache, origin, version)
    damaged = sorted(files(tmp_path / "cache"))[3]
    damaged.write_bytes(bytes(EXTENT))
    assert cache.read(origin, version, 3 * EXTENT, 50) == bytes(50)
    cache.discard(origin, version, 3 * EXTENT - 5, 10)
    assert bytes_on_account(tmp_path / "cache")[0] == bytes_on_disk(tmp_path / "cache") == 38 * EXTENT + 4096
    read_all(cache, origin, version)
    assert cache.fetched_bytes == len(CONTENT) + 2 * EXTENT


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
        while cache._pending:  # what was begun for the second part
            time.sleep(0.01)
    assert files(tmp_path / "cache") == []
    assert bytes_on_account(tmp_path / "cache") == (0, 0)
    assert list(cache.read_parts([(origin, version, 0, 5)])) == [CONTENT[:5]]


def test_prefetched_bytes_are_there_and_were_fetched_once(
    origin: str, caches: Callable[..., NodeCache], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight fetches of 50 ms each at a time: all forty take a fraction of two seconds."""
    slowly(monkeypatch, 0.05)
    cache, version = caches(), storage.version(origin)
    began = time.monotonic()
    for _ in range(3):
        cache.prefetch(origin, version, 0, len(CONTENT))
    assert time.monotonic() - began < 0.5
    read_all(cache, origin, version)
    assert time.monotonic() - began < 1.5
    assert cache.fetched_bytes == len(CONTENT)


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
        f"{tmp_path / 'cache'}: can't keep anything here ([Errno 1] belongs to another user: "
        f"'{tmp_path / 'cache'}'); bytes come straight from where they lie"
    ]
    assert files(tmp_path / "cache") == []


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


def test_a_start_of_the_machine_makes_what_was_written_last_doubtful(
    origin: str, tmp_path: Path, caches: Callable[..., NodeCache], monkeypatch: pytest.MonkeyPatch
) -> None:
    version, before = storage.version(origin), caches()
    read_all(before, origin, version)
    before.close()
    stored = sorted(files(tmp_path / "cache"))
    for path in stored[:30]:
        os.utime(path, (time.time() - 3600,) * 2)
    monkeypatch.setattr(cache_account, "_boot", lambda: "another")
    caches()
    assert sorted(files(tmp_path / "cache")) == stored[:30]
    assert bytes_on_account(tmp_path / "cache")[0] == bytes_on_disk(tmp_path / "cache")


def test_the_ring_s_file_does_not_grow(
    origin: str, tmp_path: Path, caches: Callable[..., NodeCache], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_account, "_COMPACT", 76 * 10)
    cache, version = caches(max_bytes=8 * EXTENT), storage.version(origin)
    for _ in range(3):
        read_all(cache, origin, version)
    assert (tmp_path / "cache/ring").stat().st_size <= 76 * 14
    assert len(files(tmp_path / "cache")) == 8
    assert len(list((tmp_path / "cache/sets").rglob("*"))) <= 8 + 3


def test_parts_of_objects_are_kept(s3_bucket: str, caches: Callable[..., NodeCache]) -> None:
    url = f"{s3_bucket}/set/shard-000000.tar"
    storage.write_bytes(url, CONTENT)
    version, cache = storage.version(url), caches()
    read_all(cache, url, version)
    assert cache.fetched_bytes == len(CONTENT)
    storage.remove(url)
    read_all(cache, url, version)
    assert cache.fetched_bytes == len(CONTENT)


def test_the_folder_is_a_setting_of_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GAVT_CACHE", "/local/cache")
    assert default_folder() == Path("/local/cache")
    monkeypatch.delenv("GAVT_CACHE")
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    assert default_folder() == tmp_path / f"gavt-cache-{os.getuid()}"
