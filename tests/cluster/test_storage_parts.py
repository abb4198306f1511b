"""Ranged reads: exact, of one version, quick where all is well, and going on at the byte where a stream broke."""

import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import s3fs

from cluster import storage
from cluster.errors import ChangedFileError, ForbiddenError, MissingFileError, StorageError, UnreachableError
from cluster.patience import PATIENCE
from faulty_proxy import FaultyProxy
from jobs.local.s3 import S3Server

CONTENT = np.random.default_rng(0).bytes(6 << 20)


@pytest.fixture(params=["local", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A file of `CONTENT`, on local disk and on S3."""
    folder = str(tmp_path) if request.param == "local" else request.getfixturevalue("s3_bucket")
    storage.write_bytes(f"{folder}/a b+ü", CONTENT)
    return f"{folder}/a b+ü"


@pytest.fixture
def proxy(s3_server: S3Server, s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """A proxy that spoils nothing yet."""
    storage.write_bytes(f"{s3_bucket}/x", CONTENT)
    with FaultyProxy(s3_server.endpoint, share=0) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
        monkeypatch.setenv(PATIENCE, "60")
        yield running


def places(number: int, length: int) -> list[int]:
    return [int(place) for place in np.random.default_rng(1).integers(0, len(CONTENT) - length, number)]


def test_a_part_is_exact_from_one_thread_and_from_many(url: str) -> None:
    version = storage.version(url)
    assert version.size == len(CONTENT)
    assert version == storage.version(url)
    assert storage.read_part(url, 5, 0, version) == b""
    assert storage.read_part(url, len(CONTENT) - 1, 1, None) == CONTENT[-1:]
    with ThreadPoolExecutor(16) as threads:
        starts = places(64, 70_000)
        parts = threads.map(lambda start: storage.read_part(url, start, 70_000, version), starts)
        assert list(parts) == [CONTENT[start : start + 70_000] for start in starts]


def test_a_part_beyond_the_end_is_an_error(url: str) -> None:
    with pytest.raises(StorageError, match=rf"expected 5 bytes from byte {len(CONTENT) - 2} on, found 2"):
        storage.read_part(url, len(CONTENT) - 2, 5)
    with pytest.raises(StorageError, match="expected 5 bytes .* found 0"):
        storage.read_part(url, len(CONTENT) + 2, 5)


def test_what_is_not_there_has_no_version(url: str) -> None:
    for action in (storage.version, lambda gone: storage.read_part(gone, 0, 1)):
        with pytest.raises(MissingFileError, match="gone: no such file"):
            action(url + "gone")


def test_many_parts_come_in_order_and_an_error_of_one_leaves_the_others(url: str) -> None:
    version = storage.version(url)
    wishes = [(url, start, 5000, version) for start in places(100, 5000)]
    wishes[10] = (url + "gone", 0, 5, None)
    wishes[50] = (url, 0, 5, storage.FileVersion(5, '"other"'))
    wishes[99] = (url, len(CONTENT), 5, version)
    found = list(storage.read_parts(wishes, readers=8))
    assert [type(found[number]) for number in (10, 50, 99)] == [MissingFileError, ChangedFileError, StorageError]
    for number in set(range(100)) - {10, 50, 99}:
        assert found[number] == CONTENT[wishes[number][1] :][:5000]
    assert list(storage.read_parts([])) == []
    some = storage.read_parts(wishes)
    next(some)
    some.close()  # type: ignore[attr-defined]
    assert storage.read_part(url, 3, 7, version) == CONTENT[3:10]


def test_a_part_is_one_request_with_a_range_and_its_version(proxy: FaultyProxy, s3_bucket: str) -> None:
    version = storage.version(f"{s3_bucket}/x")
    assert len(proxy.requests) == 1
    storage.read_part(f"{s3_bucket}/x", 7, 90, version)
    list(storage.read_parts([(f"{s3_bucket}/x", 8, 90, version)] * 5))
    assert [request.headers["range"] for request in proxy.requests[1:]] == ["bytes=7-96"] + ["bytes=8-97"] * 5
    assert {request.headers["if-match"] for request in proxy.requests[1:]} == {version.etag}


def test_a_broken_stream_goes_on_at_the_byte_where_it_broke(proxy: FaultyProxy, s3_bucket: str) -> None:
    """Each answer is cut in half until the rest is small: no byte that came is asked for again."""
    version = storage.version(f"{s3_bucket}/x")
    del proxy.requests[:]
    proxy.share, proxy.kinds = 1, ("cut",)
    size = len(CONTENT) - 11
    with ThreadPoolExecutor(1) as thread:
        part = thread.submit(storage.read_part, f"{s3_bucket}/x", 11, size, version)
        while len(proxy.requests) < 4:
            time.sleep(0.01)
        proxy.share = 0
        assert part.result() == CONTENT[11:]
    ranges = [re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers["range"]) for request in proxy.requests]
    starts = [int(found[1]) for found in ranges if found]
    ends = [int(found[2]) + 1 for found in ranges if found]
    assert len(starts) == len(proxy.requests) >= 4
    assert {request.headers["if-match"] for request in proxy.requests} == {version.etag}
    assert starts == sorted(starts)
    assert starts[1] >= 11 + size // 2 - (64 << 10)
    assert set(ends) == {len(CONTENT)}
    sent = sum((end - start) // 2 for start, end in zip(starts[:-1], ends[:-1], strict=True)) + ends[-1] - starts[-1]
    assert sent < 1.5 * size


def test_a_part_of_no_wanted_version_is_of_one_version_although_its_stream_broke(
    s3_server: S3Server, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replaced between the two halves: it is the new file's, whole."""
    direct = s3fs.S3FileSystem(
        key=s3_server.access_key,
        secret=s3_server.secret_key,
        endpoint_url=s3_server.endpoint,
        skip_instance_cache=True,
    )
    direct.pipe_file(f"{s3_bucket}/x", CONTENT)

    class Replacing(FaultyProxy):
        def _ask(self, handler: Any, body: bytes) -> Any:
            answer = super()._ask(handler, body)
            if self.share:
                self.share = 0
                direct.pipe_file(f"{s3_bucket}/x", CONTENT[::-1])
            return answer

    with Replacing(s3_server.endpoint, share=1) as proxy:
        proxy.kinds = ("cut",)
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        assert storage.read_range(f"{s3_bucket}/x", 0, 200_000) == CONTENT[::-1][:200_000]
        assert proxy.counts["cut"] == 1


def test_parts_survive_all_faults(proxy: FaultyProxy, s3_bucket: str) -> None:
    version = storage.version(f"{s3_bucket}/x")
    proxy.share = 0.3
    wishes = [(f"{s3_bucket}/x", start, 100_000, version) for start in places(60, 100_000)]
    found = list(storage.read_parts(wishes, readers=16))
    assert found == [CONTENT[start : start + 100_000] for _, start, _, _ in wishes]
    assert sum(proxy.counts[kind] for kind in proxy.kinds) > 5


def test_a_server_that_has_enough_is_asked_again_after_a_pause(proxy: FaultyProxy, s3_bucket: str) -> None:
    proxy.kinds = ("refused",)
    url = f"{s3_bucket}/x"
    for ask in (
        lambda: storage.version(url).size == len(CONTENT),
        lambda: storage.read_part(url, 5, 9) == CONTENT[5:14],
        lambda: list(storage.read_parts([(url, 5, 9, None)])) == [CONTENT[5:14]],
    ):
        del proxy.requests[:]
        proxy.share = 1
        with ThreadPoolExecutor(1) as thread:
            right = thread.submit(ask)
            while len(proxy.requests) < 1:
                time.sleep(0.001)
            proxy.share = 0
            assert right.result()
        times = [request.time_s for request in proxy.requests]
        assert all(later - sooner > 0.05 for sooner, later in pairwise(times))
        assert len(times) >= 2


def test_memory_is_filled_right_whatever_breaks_on_the_way(proxy: FaultyProxy, s3_bucket: str) -> None:
    """Several pieces of memory a part; those of a part that is not there, or ends before, are for nobody."""
    url, pieces = f"{s3_bucket}/x", (1, 70_001, 0, 129_998)
    starts = places(40, sum(pieces))
    wanted = [(url, start, [memoryview(bytearray(size)) for size in pieces]) for start in starts]
    gone = (f"{s3_bucket}/gone", 0, [memoryview(bytearray(5))])
    short = (url, len(CONTENT) - 3, [memoryview(bytearray(5))])
    proxy.share = 0.4
    faults = list(storage.fill_parts([*wanted[:20], gone, short, *wanted[20:]], readers=8))
    assert isinstance(faults[20], MissingFileError)
    assert "expected 5 bytes" in str(faults[21])
    assert [fault for fault in faults if fault is not None] == faults[20:22]
    for start, (_, _, memory) in zip(starts, wanted, strict=True):
        assert b"".join(memory) == CONTENT[start : start + sum(pieces)]
    assert all(proxy.counts[kind] for kind in proxy.kinds)


def test_storage_that_is_down_is_told_from_a_file_that_is_gone(
    proxy: FaultyProxy, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PATIENCE, "0.5")
    proxy.share, proxy.kinds = 1, ("refused", "dropped")
    with pytest.raises(UnreachableError, match="x: can't read it: .*gave up after"):
        storage.read_part(f"{s3_bucket}/x", 0, 10)
    with pytest.raises(UnreachableError):
        storage.version(f"{s3_bucket}/x")
    began = time.monotonic()
    found = list(storage.read_parts([(f"{s3_bucket}/x", 0, 10, None)] * 30))
    assert {type(one) for one in found} == {UnreachableError}
    assert time.monotonic() - began < 10


def test_a_wrong_secret_is_said_for_parts(s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    storage.write_bytes(f"{s3_bucket}/x", b"kept")
    with monkeypatch.context() as wrong:
        wrong.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        for action in (storage.version, lambda url: storage.read_part(url, 0, 2)):
            with pytest.raises(ForbiddenError, match="x: not allowed to read it"):
                action(f"{s3_bucket}/x")
    assert storage.read_part(f"{s3_bucket}/x", 0, 2) == b"ke"


@pytest.mark.skipif(not hasattr(threading, "_shutdown_locks_lock"), reason="this Python starts threads without it")
def test_reading_that_is_given_up_half_way_ends_while_a_thread_starts_which_may_collect_it(tmp_path):
    for number in range(9):
        (tmp_path / str(number)).write_bytes(b"content")
    contents = storage.read_parts(((tmp_path / str(number), 0, 7, None) for number in range(9)), readers=2)
    assert next(contents) == b"content"
    ended = threading.Event()

    def collect():
        with threading._shutdown_locks_lock:  # which a thread holds as it starts, and to wait for another one takes
            contents.close()
            ended.set()

    threading.Thread(target=collect, daemon=True).start()
    assert ended.wait(20)
