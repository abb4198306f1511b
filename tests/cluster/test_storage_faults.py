"""Storage on a real S3 server that fails every so often: nothing is lost, nothing is wrong, and an end is said."""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest

from cluster import storage
from cluster.errors import ForbiddenError, MissingFileError, StorageError
from cluster.patience import PATIENCE
from faulty_proxy import FaultyProxy
from jobs.local.s3 import S3Server

LARGE = np.random.default_rng(0).bytes(40 << 20)  # above the size from which on uploads and downloads go in parts


@pytest.fixture
def proxy(s3_server: S3Server, s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """A proxy that spoils 30 % of the requests."""
    with FaultyProxy(s3_server.endpoint, share=0.3) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
        monkeypatch.setenv(PATIENCE, "60")
        yield running


def all_kinds_happened(proxy: FaultyProxy) -> bool:
    return all(proxy.counts[kind] for kind in (*proxy.kinds, "passed"))


def test_small_files_survive_all_faults(proxy: FaultyProxy, s3_bucket: str) -> None:
    contents = {f"{s3_bucket}/a/{number:02d}": os.urandom(1000 + number) for number in range(24)}
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(storage.write_bytes, contents, contents.values()))
        assert list(threads.map(storage.read_bytes, contents)) == list(contents.values())
        ranges = list(threads.map(lambda url: storage.read_range(url, 500, 100), contents))
        assert ranges == [content[500:600] for content in contents.values()]
        assert all(threads.map(storage.exists, contents))
        assert not any(threads.map(lambda url: storage.exists(url + "-not"), contents))
        for _ in range(4):
            files = storage.list_files(f"{s3_bucket}/a")
            assert [(file.url, file.size) for file in files] == [(url, len(contents[url])) for url in contents]
        assert list(storage.read_many(contents, readers=8)) == list(contents.values())
        list(threads.map(storage.remove, contents))
    assert storage.list_files(f"{s3_bucket}/a") == []
    assert all_kinds_happened(proxy)


def test_long_listings_are_whole(
    s3_server: S3Server, s3_bucket: str, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = [f"{s3_bucket}/{number:04d}" for number in range(1100)]
    with monkeypatch.context() as direct, ThreadPoolExecutor(16) as threads:
        direct.setenv("AWS_ENDPOINT_URL", s3_server.endpoint)
        list(threads.map(lambda url: storage.write_bytes(url, b""), urls))
    proxy.share = 0.5
    for _ in range(2):  # two pages each
        assert [file.url for file in storage.list_files(s3_bucket)] == urls
    assert sum(proxy.counts[kind] for kind in proxy.kinds) > 0


def test_large_files_go_up_and_down_whole(proxy: FaultyProxy, s3_bucket: str, tmp_path: Path) -> None:
    (tmp_path / "here").write_bytes(LARGE)
    for number in range(2):
        storage.upload(tmp_path / "here", f"{s3_bucket}/{number}")
        assert storage.size(f"{s3_bucket}/{number}") == len(LARGE)
        storage.download(f"{s3_bucket}/{number}", tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == LARGE
        assert storage.read_bytes(f"{s3_bucket}/{number}") == LARGE
    storage.write_bytes(f"{s3_bucket}/bytes", LARGE)
    assert storage.read_bytes(f"{s3_bucket}/bytes") == LARGE
    assert sum(proxy.counts[kind] for kind in proxy.kinds) >= 5
    proxy.share = 0
    assert uploads(s3_bucket) == []


def test_an_upload_that_fails_for_good_leaves_no_parts(
    proxy: FaultyProxy, s3_bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PATIENCE, "1")
    (tmp_path / "here").write_bytes(LARGE)
    proxy.share = 0
    proxy.refuse = "PUT"
    with pytest.raises(StorageError, match=f"{s3_bucket}/x: can't write it: .*gave up after"):
        storage.upload(tmp_path / "here", f"{s3_bucket}/x")
    proxy.refuse = None
    assert not storage.exists(f"{s3_bucket}/x")
    assert uploads(s3_bucket) == []


def test_an_open_file_reads_right_under_faults(proxy: FaultyProxy, s3_bucket: str) -> None:
    storage.write_bytes(f"{s3_bucket}/x", LARGE)
    file = storage.open_read(f"{s3_bucket}/x")
    random = np.random.default_rng(1)
    for place in random.integers(0, len(LARGE) - 5000, 40):
        file.seek(int(place))
        assert file.read(5000) == LARGE[place : place + 5000]


def test_one_of_many_creates_a_file_even_when_answers_are_lost(proxy: FaultyProxy, s3_bucket: str) -> None:
    proxy.kinds = ("unanswered", "cut", "refused")
    proxy.share = 0.4
    for number in range(4):
        url = f"{s3_bucket}/{number}"
        with ThreadPoolExecutor(4) as threads:
            won = list(threads.map(lambda owner, url=url: storage.create(url, b"%d" % owner), range(4)))
        assert Counter(won) == {True: 1, False: 3}
        assert storage.read_bytes(url) == b"%d" % won.index(True)
    assert proxy.counts["unanswered"] > 0


def test_a_file_is_one_version_although_it_is_replaced_while_it_is_read(s3_bucket: str, tmp_path: Path) -> None:
    url = f"{s3_bucket}/busy"
    contents = [bytes([letter]) * (36 << 20) for letter in b"ab"]
    storage.write_bytes(url, contents[0])
    done = threading.Event()

    def write() -> None:
        for turn in range(4):
            storage.write_bytes(url, contents[turn % 2])
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        assert storage.read_bytes(url) in contents
        storage.download(url, tmp_path / "copy")
        assert (tmp_path / "copy").read_bytes() in contents
    writer.join()


def test_many_small_files_cost_one_request_each(s3_bucket: str, proxy: FaultyProxy) -> None:
    proxy.share = 0
    names = ["a b", "50% + x#1?=&~", "Ünïcode 音", "[x]*", "plain"]
    for name in names:
        storage.write_bytes(f"{s3_bucket}/{name}", name.encode())
    before = len(proxy.requests)
    assert list(storage.read_many(f"{s3_bucket}/{name}" for name in names)) == [name.encode() for name in names]
    assert len(proxy.requests) - before == len(names)
    with pytest.raises(MissingFileError, match="none: no such file"):
        list(storage.read_many([f"{s3_bucket}/plain", f"{s3_bucket}/none"]))


def test_what_is_final_is_not_tried_again(proxy: FaultyProxy, s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy.share = 0
    for action, kind in ((storage.read_bytes, MissingFileError), (storage.size, MissingFileError)):
        before = len(proxy.requests)
        with pytest.raises(kind):
            action(f"{s3_bucket}/missing")
        assert len(proxy.requests) - before <= 2
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    before = len(proxy.requests)
    with pytest.raises(ForbiddenError):
        storage.read_bytes(f"{s3_bucket}/x")
    with pytest.raises(ForbiddenError):
        storage.write_bytes(f"{s3_bucket}/x", b"")
    assert len(proxy.requests) - before == 2


def test_a_server_that_only_fails_is_said_when_patience_ends(
    proxy: FaultyProxy, s3_bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(PATIENCE, "0.5")
    proxy.share, proxy.kinds = 1, ("refused",)
    (tmp_path / "x").write_bytes(b"x")
    for action in (
        lambda url: storage.read_bytes(url),
        lambda url: storage.list_files(url),
        lambda url: storage.write_bytes(url, b""),
        lambda url: storage.upload(tmp_path / "x", url),
        lambda url: storage.exists(url),
    ):
        with pytest.raises(
            StorageError, match=rf"{s3_bucket}/x: can't .*; gave up after \d+ attempts? in \d s"
        ) as said:
            action(f"{s3_bucket}/x")
        assert "\n" not in str(said.value)


def test_a_frozen_server_is_said_when_patience_ends_and_waited_for_before(
    s3_server: S3Server, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.write_bytes(f"{s3_bucket}/x", b"there")
    process = int((Path(s3_server.root) / "run/client.rgw.pid").read_text())
    os.kill(process, signal.SIGSTOP)
    while psutil.Process(process).status() != psutil.STATUS_STOPPED:
        time.sleep(0.01)
    try:
        monkeypatch.setenv(PATIENCE, "1")
        with pytest.raises(StorageError, match="no whole answer within 1 s; gave up after 1 attempt in 1 s"):
            storage.read_bytes(f"{s3_bucket}/x")
        monkeypatch.setenv(PATIENCE, "60")
        threading.Timer(1, os.kill, (process, signal.SIGCONT)).start()
        assert storage.read_bytes(f"{s3_bucket}/x") == b"there"
    finally:
        os.kill(process, signal.SIGCONT)


def test_patience_must_be_a_number(s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PATIENCE, "long")
    with pytest.raises(StorageError, match=f"{PATIENCE}: expected a number of seconds, found 'long'"):
        storage.read_bytes(f"{s3_bucket}/x")


def uploads(bucket: str) -> list[object]:
    """Uploads in parts that were begun and neither completed nor given up."""
    import s3fs

    found: list[object] = s3fs.S3FileSystem(skip_instance_cache=True).list_multipart_uploads(
        bucket.removeprefix("s3://")
    )
    return found
