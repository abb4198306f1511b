"""What gavt needs of a storage (`cluster/storage/README.md`), a test a promise, on each kind that runs here.

`local` is a folder; `ceph`, Ceph's gateway; `moto`, moto's server; `gcs`, fake-gcs-server behind gcsfs; `real`, what
`GAVT_TEST_STORAGE` names (`s3://…` or `gs://…`, with the account in the usual variables), where it is set.
"""

import multiprocessing
import os
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from fsspec.asyn import sync

from cluster import storage
from cluster.errors import ChangedFileError, ForbiddenError, MissingFileError, StorageError, UnreachableError
from cluster.patience import PATIENCE
from cluster.storage.filesystems import s3_of
from faulty_proxy import FaultyProxy
from storage_servers import forget_conditions

REAL = os.environ.get("GAVT_TEST_STORAGE")
OBJECTS = ["ceph", "moto", "gcs", *(["real"] if REAL else [])]


def begin(kind: str, request: pytest.FixtureRequest) -> str:
    """An empty place on a kind of storage."""
    if kind == "real":
        return f"{REAL}/{uuid.uuid4().hex[:12]}"
    fixture = {"local": "tmp_path", "ceph": "s3_bucket", "moto": "moto_bucket", "gcs": "gcs_bucket"}[kind]
    return f"{request.getfixturevalue(fixture)}/deep/folder"


@pytest.fixture(params=["local", *OBJECTS])
def place(request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty folder on each kind of storage."""
    url = begin(request.param, request)
    yield url
    if request.param == "real":
        storage.remove_folder(url, "none")


@pytest.fixture(params=OBJECTS)
def objects(request: pytest.FixtureRequest) -> str:
    """An empty folder on each kind of object storage."""
    return begin(request.param, request)


def test_what_is_written_is_read_at_once(place: str) -> None:
    url = storage.join(place, "new/file.bin")
    content = bytes(range(256)) * 40
    assert not storage.exists(url)
    storage.write_bytes(url, content)
    assert storage.exists(url)
    assert storage.exists(storage.join(place, "new"))
    assert storage.size(url) == len(content)
    assert storage.read_bytes(url) == content
    storage.write_bytes(url, b"", durable=False)
    assert storage.read_bytes(url) == b""
    assert storage.size(url) == 0


def test_a_write_is_all_or_nothing_to_who_reads(place: str) -> None:
    url = storage.join(place, "busy.bin")
    contents = [bytes([letter]) * 200_000 for letter in b"ab"]
    storage.write_bytes(url, contents[0])
    done = threading.Event()

    def write() -> None:
        for turn in range(12):
            storage.write_bytes(url, contents[turn % 2])
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while not done.is_set():
        seen.add(storage.read_bytes(url))
    writer.join()
    assert seen <= set(contents)


def test_only_one_of_many_creates_a_file(place: str) -> None:
    for number in range(3):
        url = storage.join(place, f"lock-{number}")
        with ThreadPoolExecutor(8) as threads:
            won = list(threads.map(lambda owner, url=url: storage.create(url, b"%d" % owner), range(8)))
        assert sum(won) == 1
        assert storage.read_bytes(url) == b"%d" % won.index(True)
        assert not storage.create(url, b"%d" % won.index(True))
    assert len(storage.list_files(place)) == 3
    storage.remove(url)
    assert storage.create(url, b"")
    assert storage.read_bytes(url) == b""


def test_only_one_of_many_replaces_a_version(objects: str) -> None:
    url = f"{objects}/lease"
    storage.write_bytes(url, b"of one who died")
    before = storage.version(url)
    with ThreadPoolExecutor(8) as threads:
        won = list(threads.map(lambda owner: storage.replace(url, b"%d" % owner, before), range(8)))
    assert sum(won) == 1
    assert storage.read_bytes(url) == b"%d" % won.index(True)
    assert not storage.replace(url, b"late", before)
    assert storage.replace(url, b"next", storage.version(url))
    gone = storage.version(url)
    storage.remove(url)
    assert not storage.replace(url, b"of nobody", gone)


def test_a_range_is_exact_and_ends_with_the_file(place: str) -> None:
    url = storage.join(place, "range.bin")
    storage.write_bytes(url, bytes(range(200)))
    assert storage.read_range(url, 0, 1) == b"\x00"
    assert storage.read_range(url, 100, 50) == bytes(range(100, 150))
    assert storage.read_range(url, 190, 50) == bytes(range(190, 200))
    assert [storage.read_range(url, start, length) for start, length in ((10, 0), (200, 5), (900, 5))] == [b""] * 3
    parts = [(url, start, 7, None) for start in range(0, 190, 7)]
    assert list(storage.read_parts(parts, readers=8)) == [bytes(range(start, start + 7)) for _, start, _, _ in parts]


def test_a_range_is_of_the_version_that_was_asked_for(place: str) -> None:
    url = storage.join(place, "shard.tar")
    storage.write_bytes(url, b"before" * 100)
    before = storage.version(url)
    assert (before.size, before) == (600, storage.version(url))
    assert storage.read_part(url, 6, 6, before) == b"before"
    storage.write_bytes(url, b"behind" * 100)
    after = storage.version(url)
    assert (after.size, after.etag != before.etag) == (600, True)
    with pytest.raises(ChangedFileError, match="expected the version that was there before, found another"):
        storage.read_part(url, 0, 6, before)
    (found,) = storage.read_parts([(url, 0, 6, before)])
    assert isinstance(found, ChangedFileError)
    assert storage.read_part(url, 0, 6, after) == storage.read_part(url, 0, 6) == b"behind"


def test_a_listing_is_deep_sorted_and_true_at_once(place: str) -> None:
    assert storage.list_files(place) == []
    assert storage.list_folders(place) == []
    for name in ("b.txt", "a/z.txt", "a/b/c.txt", "a.txt"):
        storage.write_text(storage.join(place, name), name)
    storage.write_text(f"{place}-beside/x.txt", "a neighbour whose name begins alike")
    expected = [(storage.join(place, name), len(name)) for name in ("a.txt", "a/b/c.txt", "a/z.txt", "b.txt")]
    assert [(file.url, file.size) for file in storage.list_files(place)] == expected
    assert [(file.url, file.size) for file in storage.list_files(place + "/")] == expected
    assert storage.list_folders(place) == ["a"]
    assert storage.list_files(storage.join(place, "b.txt")) == []
    storage.remove(storage.join(place, "a.txt"))
    storage.write_text(storage.join(place, "b.txt"), "longer than it was")
    assert [file.size for file in storage.list_files(place)] == [7 + 2, 7, 18]


def test_names_with_spaces_signs_and_letters_of_all_kinds_survive(place: str) -> None:
    names = ["a b.txt", "50% + x#1?.txt", "Ünïcode 音.txt", "[x]*.txt", "{a}=~&@:!.txt"]
    for name in names:
        storage.write_text(storage.join(place, name), name)
    assert {file.url for file in storage.list_files(place)} == {storage.join(place, name) for name in names}
    urls = [storage.join(place, name) for name in names]
    assert list(storage.read_many(urls)) == [name.encode() for name in names]
    assert [storage.read_range(url, 0, 3) for url in urls] == [name.encode()[:3] for name in names]
    for url in urls:
        storage.remove(url)
    assert storage.list_files(place) == []


def test_a_large_file_goes_in_parts_and_comes_back_whole(place: str, tmp_path: Path) -> None:
    here, back, url = tmp_path / "here.bin", tmp_path / "sub/back.bin", storage.join(place, "x/there.bin")
    content = np.random.default_rng(0).bytes(33 << 20)
    here.write_bytes(content)
    storage.upload(here, url)
    assert storage.size(url) == len(content)
    assert storage.read_range(url, (32 << 20) - 3, 6) == content[(32 << 20) - 3 : (32 << 20) + 3]
    with storage.local_copy(url) as copy:
        assert copy.name == "there.bin"
        assert copy.read_bytes() == content
    assert copy.exists() != storage.is_remote(url)  # a copy goes, the file itself stays
    storage.write_bytes(url, memoryview(content)[: 33 << 19])
    storage.download(url, back)
    assert back.read_bytes() == content[: 33 << 19]


def test_a_folder_of_many_files_goes_and_nothing_else(place: str) -> None:
    names = [f"step-1/{name}" for name in ("manifest.json", *(f"rank-{rank:05}" for rank in range(20)))]
    for name in (*names, "step-10/rank-00000"):
        storage.write_bytes(storage.join(place, name), b"x")
    storage.remove_folder(storage.join(place, "step-1"), "manifest.json")
    assert [file.url for file in storage.list_files(place)] == [storage.join(place, "step-10/rank-00000")]
    storage.remove_folder(storage.join(place, "step-1"), "manifest.json")
    storage.remove(storage.join(place, "none"))


def test_what_is_not_there_is_one_sentence_with_its_name(place: str, tmp_path: Path) -> None:
    url = storage.join(place, "missing.txt")
    actions = [
        storage.read_bytes,
        storage.read_text,
        storage.size,
        storage.version,
        storage.open_read,
        lambda place: storage.read_range(place, 0, 4),
        lambda place: storage.download(place, tmp_path / "copy"),
        lambda place: storage.local_copy(place).__enter__(),
    ]
    for action in actions:
        with pytest.raises(MissingFileError, match=r"missing\.txt: no such file"):
            action(url)
    assert not (tmp_path / "copy").exists()
    with pytest.raises(MissingFileError, match=r"nothing\.bin: no such file"):
        storage.upload(tmp_path / "nothing.bin", url)
    assert not storage.exists(url)


def test_forked_processes_have_connections_of_their_own(objects: str) -> None:
    storage.write_text(f"{objects}/parent", "of the parent")
    with multiprocessing.get_context("fork").Pool(2) as children:
        done = [children.apply_async(_read_and_write, (objects, number)) for number in range(4)]
        assert [one.get(timeout=60) for one in done] == ["of the parent"] * 4
    assert [storage.read_text(f"{objects}/child-{number}") for number in range(4)] == list("0123")


def _read_and_write(place: str, number: int) -> str:
    storage.write_text(f"{place}/child-{number}", str(number))
    return storage.read_text(f"{place}/parent")


def test_a_bucket_that_is_not_there_is_said(objects: str) -> None:
    url = f"{objects.partition('://')[0]}://no-such-bucket-of-gavt/x"
    for action in (
        storage.read_bytes,
        storage.size,
        lambda url: storage.write_bytes(url, b"1"),
        storage.check_writable,
    ):
        with pytest.raises((MissingFileError, ForbiddenError), match="no-such-bucket-of-gavt/x: "):
            action(url)


def test_a_storage_that_is_away_is_said_when_patience_ends(objects: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL", "STORAGE_EMULATOR_HOST"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv(PATIENCE, "0.5")
    actions = {
        "read": storage.read_bytes,
        "list": storage.list_files,
        "write": lambda url: storage.write_bytes(url, b"x"),
        "remove": storage.remove,
    }
    for word, action in actions.items():
        with pytest.raises(
            UnreachableError, match=rf"{objects}: can't {word} it: .*; gave up after \d+ attempt"
        ) as said:
            action(objects)
        assert "\n" not in str(said.value)


def test_faults_that_pass_lose_and_mix_nothing(objects: str, monkeypatch: pytest.MonkeyPatch) -> None:
    variable = "STORAGE_EMULATOR_HOST" if objects.startswith("gs://") else "AWS_ENDPOINT_URL"
    upstream = os.environ.get(variable)
    if upstream is None:
        pytest.skip(f"{variable} is not set: no proxy can stand before a server of the web's")
    with FaultyProxy(upstream, share=0.3, slow_s=0.05) as proxy:
        monkeypatch.setenv(variable, proxy.url)
        monkeypatch.setenv(PATIENCE, "60")
        contents = {f"{objects}/a/{number:02d}": os.urandom(1000 + number) for number in range(16)}
        with ThreadPoolExecutor(8) as threads:
            assert all(threads.map(storage.create, contents, contents.values()))
            assert not any(threads.map(storage.create, contents, contents.values()))
            ranges = list(threads.map(lambda url: storage.read_range(url, 500, 100), contents))
        assert ranges == [content[500:600] for content in contents.values()]
        assert list(storage.read_many(contents, readers=8)) == list(contents.values())
        files = storage.list_files(f"{objects}/a")
        assert [(file.url, file.size) for file in files] == [(url, len(contents[url])) for url in contents]
        assert all(proxy.counts[kind] for kind in (*proxy.kinds, "passed"))


def test_a_storage_that_ignores_the_condition_of_a_write_is_found_out(
    objects: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if objects.startswith("gs://"):
        pytest.skip("Google's storage and its stand-in know the condition")
    forget_conditions(monkeypatch)
    with pytest.raises(StorageError, match="found one that can't: it replaces what was to be written once"):
        storage.create(f"{objects}/lock", b"1")
    assert storage.list_files(objects) == []


def test_servers_that_are_not_amazons_are_asked_by_path(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    for endpoint, beginning in (("https://minio.example", "https://minio.example/bucket/"), ("", "https://bucket.s3.")):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        client = s3_of("s3://bucket/x")
        assert client is not None
        assert sync(client.loop, client._account, "bucket")[0].startswith(beginning)
