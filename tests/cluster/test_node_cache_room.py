"""The room of the node cache: never beyond its bound, and what stays in it is what will be hit."""

import os
import random
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from cached_content import (
    CONTENT,
    EXTENT,
    bytes_on_account,
    bytes_on_disk,
    files,
    make,
    process,
    read_all,
    read_at_random,
)

from cluster import storage
from cluster.node_cache import NodeCache


def test_the_bound_holds_while_processes_read(origin: str, tmp_path: Path) -> None:
    folder, version, max_bytes = tmp_path / "cache", storage.version(origin), 10 * EXTENT
    arguments = (read_at_random, folder, origin, version, max_bytes)
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


def test_the_ring_s_file_does_not_grow(
    origin: str, tmp_path: Path, caches: Callable[..., NodeCache], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.node_cache.account.MANY", 76 * 10)
    cache, version = caches(max_bytes=8 * EXTENT), storage.version(origin)
    for _ in range(3):
        read_all(cache, origin, version)
    assert (tmp_path / "cache/ring").stat().st_size <= 76 * 14
    assert len(files(tmp_path / "cache")) == 8
    assert len(list((tmp_path / "cache/sets").rglob("*"))) <= 8 + 3
