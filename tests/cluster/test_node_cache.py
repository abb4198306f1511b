"""The node cache: the right bytes of the right version, each extent fetched once."""

import os
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cached_content import (
    CONTENT,
    EXTENT,
    PROCESSES,
    bytes_on_account,
    bytes_on_disk,
    files,
    make,
    process,
    read_all,
    slowly,
)
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cluster import storage
from cluster.errors import ChangedFileError, StorageError
from cluster.node_cache import NodeCache, default_folder
from cluster.storage import FileVersion


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


def test_parts_of_objects_are_kept(s3_bucket: str, caches: Callable[..., NodeCache]) -> None:
    url = f"{s3_bucket}/set/shard-000000.tar"
    storage.write_bytes(url, CONTENT)
    version, cache = storage.version(url), caches()
    read_all(cache, url, version)
    assert cache.fetched_bytes == len(CONTENT)
    storage.remove(url)
    read_all(cache, url, version)
    assert cache.fetched_bytes == len(CONTENT)


def test_where_extents_are_many_bytes_what_is_not_there_is_fetched_alone(
    origin: str, caches: Callable[..., NodeCache]
) -> None:
    cache, version = caches(), storage.version(origin)
    parts = [(origin, version, 10, 20), (origin, version, EXTENT + 10, 20), (origin, version, EXTENT - 5, 10)]
    expected = [CONTENT[start : start + length] for _, _, start, length in parts]
    assert list(cache.read_parts(parts, most=2 * EXTENT - 1)) == expected
    assert (cache.hits, cache.fetched_bytes) == (0, 50)
    assert list(cache.read_parts(parts, most=2 * EXTENT)) == expected
    assert cache.fetched_bytes == 50 + 2 * EXTENT
    assert list(cache.read_parts(parts, most=0)) == expected
    assert cache.fetched_bytes == 50 + 2 * EXTENT + 10  # what lies in two extents is not put together


def test_the_folder_is_a_setting_of_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GAVT_CACHE", "/local/cache")
    assert default_folder() == Path("/local/cache")
    monkeypatch.delenv("GAVT_CACHE")
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    assert default_folder() == tmp_path / f"gavt-cache-{os.getuid()}"


def test_what_every_process_asks_of_a_file_is_asked_for_once_for_each_version(
    origin: str, caches: Callable[..., NodeCache]
) -> None:
    asked: list[str] = []

    def ask(tag: str) -> bytes:
        asked.append(tag)
        time.sleep(0.05)
        return tag.encode() * 100

    version = storage.version(origin)
    read_all(caches(), origin, version)
    with ThreadPoolExecutor(8) as threads:
        for tag in ("old", "new"):
            processes = [caches() for _ in range(8)]
            said = [threads.submit(one.once, origin, "index", tag, partial(ask, tag), len) for one in processes]
            assert [one.result() for one in said] == [tag.encode() * 100] * 8
    assert asked == ["old", "new"]
    later = caches()
    assert later.once(origin, "index", "new", lambda: b"12", int) == b"12"  # what is kept is no number

    def fail() -> bytes:
        raise StorageError("away")

    with pytest.raises(StorageError, match="away"):
        later.once(origin, "index", "third", fail, len)
    assert later.once(origin, "index", "third", lambda: b"there", len) == b"there"
    read_all(later, origin, version)
    assert later.misses == 0  # what is kept of a file's versions leaves its extents alone
