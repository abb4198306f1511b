"""Every function of `cluster.storage`, on a local folder and on a real S3 server."""

import hashlib
import multiprocessing
import os
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cluster import storage
from cluster.errors import ForbiddenError, MissingFileError, StorageError
from cluster.s3.patience import PATIENCE
from jobs.local.s3 import S3Server


@pytest.fixture(params=["local", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty folder: a local one, then a prefix of a bucket."""
    if request.param == "local":
        yield str(tmp_path / "deep" / "folder")
    else:
        yield request.getfixturevalue("s3_bucket") + "/deep/folder"


def test_paths_and_urls_are_told_apart_and_joined() -> None:
    assert not storage.is_remote("/data/x")
    assert not storage.is_remote("file:///data/x")
    assert storage.is_remote("s3://bucket/x")
    assert storage.join("s3://bucket/a/", "b", "c") == "s3://bucket/a/b/c"
    assert storage.join("s3://bucket", "a") == "s3://bucket/a"
    assert storage.join(Path("a"), "b") == "a/b"
    assert storage.join("/", "b") == "/b"


def test_what_is_written_is_read(folder: str) -> None:
    url = storage.join(folder, "new/file.bin")
    content = bytes(range(256)) * 40
    assert not storage.exists(url)
    storage.write_bytes(url, content)
    assert storage.exists(url)
    assert storage.exists(storage.join(folder, "new"))
    assert storage.size(url) == len(content)
    assert storage.read_bytes(url) == content
    storage.write_bytes(url, b"", durable=False)
    assert storage.read_bytes(url) == b""
    assert storage.size(url) == 0


def test_text_is_utf8_and_a_byte_order_mark_is_dropped(folder: str) -> None:
    url = storage.join(folder, "text.txt")
    storage.write_text(url, "Geige → Ton\n")
    assert storage.read_text(url) == "Geige → Ton\n"
    storage.write_bytes(url, b"\xef\xbb\xbfa: 1")
    assert storage.read_text(url) == "a: 1"
    storage.write_bytes(url, b"ab\xff\xfe")
    with pytest.raises(StorageError, match=r"text.txt: expected UTF-8 text, found byte 2"):
        storage.read_text(url)


def test_ranges_are_exact_and_end_with_the_file(folder: str) -> None:
    url = storage.join(folder, "range.bin")
    storage.write_bytes(url, bytes(range(200)))
    assert storage.read_range(url, 0, 1) == b"\x00"
    assert storage.read_range(url, 100, 50) == bytes(range(100, 150))
    assert storage.read_range(url, 190, 50) == bytes(range(190, 200))
    assert storage.read_range(url, 10, 0) == b""


def test_what_lies_after_the_end_is_empty(folder: str) -> None:
    url = storage.join(folder, "range.bin")
    storage.write_bytes(url, b"abc")
    assert storage.read_range(url, 3, 5) == b""
    assert storage.read_range(url, 100, 5) == b""


def test_only_one_of_many_creates_a_file(folder: str) -> None:
    url = storage.join(folder, "lock")
    with ThreadPoolExecutor(8) as threads:
        won = list(threads.map(lambda owner: storage.create(url, b"%d" % owner), range(8)))
    assert sum(won) == 1
    assert storage.read_bytes(url) == b"%d" % won.index(True)
    assert not storage.create(url, b"%d" % won.index(True))
    assert [file.url for file in storage.list_files(folder)] == [url]
    storage.remove(url)
    assert storage.create(url, b"")
    assert storage.read_bytes(url) == b""


def test_many_files_are_read_in_their_order(folder: str, tmp_path: Path) -> None:
    contents = {storage.join(folder, f"{number:03d}"): os.urandom(number) for number in range(200)}
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda url: storage.write_bytes(url, contents[url], durable=False), contents))
    backwards = sorted(contents, reverse=True)
    assert list(storage.read_many(backwards)) == [contents[url] for url in backwards]
    assert list(storage.read_many([])) == []
    storage.write_bytes(tmp_path / "here", b"here")
    assert list(storage.read_many([tmp_path / "here", backwards[-1]], readers=1)) == [b"here", b""]
    some = storage.read_many([*backwards, "nowhere"], readers=300)
    with pytest.raises(MissingFileError, match="nowhere: no such file"):
        list(some)
    some = storage.read_many(backwards)
    assert next(some) == contents[backwards[0]]
    some.close()  # type: ignore[attr-defined]


def test_a_json_object_is_read_and_something_else_is_said(folder: str) -> None:
    url = storage.join(folder, "x.json")
    storage.write_text(url, '{"a": [1]}')
    assert storage.read_json(url) == {"a": [1]}
    for text, found in (("[1]", "expected a JSON object, found list"), ("{", "expected JSON: ")):
        storage.write_text(url, text)
        with pytest.raises(StorageError, match=f"x.json: {found}"):
            storage.read_json(url)


def test_the_sha_256_of_a_file_is_that_of_its_content(tmp_path: Path) -> None:
    content = os.urandom(3_000_001)
    (tmp_path / "x").write_bytes(content)
    assert storage.sha256(tmp_path / "x") == hashlib.sha256(content).hexdigest()
    with pytest.raises(MissingFileError):
        storage.sha256(tmp_path / "y")


def test_an_open_file_can_be_read_in_pieces_and_searched(folder: str) -> None:
    url = storage.join(folder, "open.bin")
    storage.write_bytes(url, bytes(range(250)) * 1000)
    with storage.open_read(url) as file:
        assert file.read(3) == b"\x00\x01\x02"
        file.seek(249_999)
        assert file.read() == bytes([249])
        file.seek(-250, os.SEEK_END)
        assert file.read(1) == b"\x00"


def test_a_listing_is_sorted_deep_and_true_at_once(folder: str) -> None:
    assert storage.list_files(folder) == []
    for name in ("b.txt", "a/z.txt", "a/b/c.txt", "a.txt"):
        storage.write_text(storage.join(folder, name), name)
    storage.write_text(f"{folder}-beside/x.txt", "a neighbour whose name begins alike")
    expected = [(storage.join(folder, name), len(name)) for name in ("a.txt", "a/b/c.txt", "a/z.txt", "b.txt")]
    assert [(file.url, file.size) for file in storage.list_files(folder)] == expected
    assert [(file.url, file.size) for file in storage.list_files(folder + "/")] == expected
    storage.remove(storage.join(folder, "a.txt"))
    storage.write_text(storage.join(folder, "b.txt"), "longer than it was")
    assert [file.size for file in storage.list_files(folder)] == [7 + 2, 7, 18]


def test_listing_a_file_gives_no_files(folder: str) -> None:
    storage.write_text(storage.join(folder, "one"), "1")
    assert storage.list_files(storage.join(folder, "one")) == []


def test_names_with_spaces_signs_and_letters_of_all_kinds_survive(folder: str) -> None:
    names = ["a b.txt", "50% + x#1?.txt", "Ünïcode 音.txt", "[x]*.txt"]
    for name in names:
        storage.write_text(storage.join(folder, name), name)
    assert {file.url for file in storage.list_files(folder)} == {storage.join(folder, name) for name in names}
    for name in names:
        assert storage.read_text(storage.join(folder, name)) == name
    assert list(storage.read_many(storage.join(folder, name) for name in names)) == [name.encode() for name in names]
    for name in names:
        storage.remove(storage.join(folder, name))
    assert storage.list_files(folder) == []


def test_upload_and_download_keep_every_byte(folder: str, tmp_path: Path) -> None:
    here, back, url = tmp_path / "here.bin", tmp_path / "sub/back.bin", storage.join(folder, "x/there.bin")
    here.write_bytes(os.urandom(3_000_001))
    storage.upload(here, url)
    storage.download(url, back)
    assert back.read_bytes() == here.read_bytes()
    with storage.local_copy(url) as copy:
        assert copy.name == "there.bin"
        assert copy.read_bytes() == here.read_bytes()
    assert copy.exists() != storage.is_remote(url)  # a copy goes, the file itself stays


def test_a_large_file_goes_in_parts(s3_bucket: str, tmp_path: Path) -> None:
    content = os.urandom(1 << 20) * 70  # above s3fs's 50 MB, from where on it uploads in parts
    (tmp_path / "large").write_bytes(content)
    storage.upload(tmp_path / "large", f"{s3_bucket}/large")
    assert storage.size(f"{s3_bucket}/large") == len(content)
    assert storage.read_range(f"{s3_bucket}/large", (1 << 20) * 69, 64) == content[:64]


def test_remove_is_quiet_about_what_is_not_there(folder: str) -> None:
    url = storage.join(folder, "gone.txt")
    storage.write_text(url, "x")
    storage.remove(url)
    storage.remove(url)
    assert not storage.exists(url)


def test_a_missing_file_is_one_sentence_with_its_name(folder: str, tmp_path: Path) -> None:
    url = storage.join(folder, "missing.txt")
    actions = [
        storage.read_bytes,
        storage.read_text,
        storage.size,
        storage.open_read,
        lambda place: storage.read_range(place, 0, 4),
        lambda place: storage.download(place, tmp_path / "copy"),
        lambda place: storage.local_copy(place).__enter__(),
    ]
    for action in actions:
        with pytest.raises(MissingFileError, match=r"missing\.txt: no such file"):
            action(url)
    assert not (tmp_path / "copy").exists()


def test_uploading_what_is_not_there_names_the_local_file(folder: str, tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"nothing\.bin: no such file"):
        storage.upload(tmp_path / "nothing.bin", storage.join(folder, "x"))
    assert not storage.exists(storage.join(folder, "x"))


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


def test_readers_see_the_old_content_or_the_new_never_half(folder: str) -> None:
    url = storage.join(folder, "busy.bin")
    contents = [bytes([letter]) * 200_000 for letter in b"ab"]
    storage.write_bytes(url, contents[0])
    done = threading.Event()

    def write() -> None:
        for turn in range(20):
            storage.write_bytes(url, contents[turn % 2])
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while not done.is_set():
        seen.add(storage.read_bytes(url))
    writer.join()
    assert seen <= set(contents)


def test_what_a_killed_writer_left_is_not_listed(tmp_path: Path) -> None:
    storage.write_text(tmp_path / "x.tar", "whole")
    (tmp_path / ".x.tar.abc123.part").write_text("ha")
    (tmp_path / ".hidden").write_text("a user's own")
    assert [Path(file.url).name for file in storage.list_files(tmp_path)] == [".hidden", "x.tar"]


def test_written_files_can_be_read_by_others(tmp_path: Path) -> None:
    storage.write_text(tmp_path / "x", "1")
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o644


def test_a_file_url_is_a_local_path(tmp_path: Path) -> None:
    storage.write_text(f"file://{tmp_path}/x", "1")
    assert (tmp_path / "x").read_text() == "1"
    assert storage.read_text(f"file://{tmp_path}/x") == "1"
    assert [file.url for file in storage.list_files(f"file://{tmp_path}")] == [f"file://{tmp_path}/x"]


def test_relative_paths_are_listed_as_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    storage.write_text("sub/x", "1")
    assert [file.url for file in storage.list_files("sub")] == ["sub/x"]


def test_an_unknown_kind_of_storage_is_named() -> None:
    with pytest.raises(StorageError, match="nosuch://: expected a kind of storage that fsspec knows"):
        storage.read_bytes("nosuch://x/y")


@pytest.mark.parametrize("action", ["read", "list", "exists", "write", "upload", "size", "range"])
def test_a_missing_bucket_is_said(action: str, s3_server: S3Server, tmp_path: Path) -> None:
    url = "s3://no-such-bucket-here/folder/x"
    (tmp_path / "x").write_text("1")
    if action == "exists":
        assert not storage.exists(url)
        return
    if action == "list":
        assert storage.list_files(url) == []
        return
    with pytest.raises(MissingFileError, match="s3://no-such-bucket-here/folder/x: no such file or bucket"):
        {
            "read": lambda: storage.read_bytes(url),
            "write": lambda: storage.write_bytes(url, b"1"),
            "upload": lambda: storage.upload(tmp_path / "x", url),
            "size": lambda: storage.size(url),
            "range": lambda: storage.read_range(url, 0, 1),
        }[action]()


@pytest.mark.parametrize("action", ["read", "list", "exists", "write", "remove", "size"])
def test_a_wrong_secret_is_refused_in_one_sentence(
    action: str, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{s3_bucket}/x"
    storage.write_text(url, "kept")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(ForbiddenError, match=f"{url}: not allowed to") as refused:
        {
            "read": lambda: storage.read_bytes(url),
            "list": lambda: storage.list_files(url),
            "exists": lambda: storage.exists(url),
            "write": lambda: storage.write_bytes(url, b"1"),
            "remove": lambda: storage.remove(url),
            "size": lambda: storage.size(url),
        }[action]()
    assert "\n" not in str(refused.value)
    monkeypatch.undo()
    assert storage.read_text(url) == "kept"


def test_a_server_that_is_not_there_is_one_sentence(s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv(PATIENCE, "5")
    with pytest.raises(StorageError, match=f"{s3_bucket}/x: can't read it: .*127.0.0.1:9.*; gave up after"):
        storage.read_bytes(f"{s3_bucket}/x")


def test_missing_credentials_are_one_sentence(s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StorageError, match=f"{s3_bucket}/x: "):
        storage.read_bytes(f"{s3_bucket}/x")


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_made_after_the_first_use_have_connections_of_their_own(method: str, folder: str) -> None:
    storage.write_text(storage.join(folder, "parent"), "from the parent")
    context = multiprocessing.get_context(method)
    children = [context.Process(target=_read_and_write, args=(folder, n)) for n in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
        if child.is_alive():
            child.kill()
            pytest.fail("a child hung")
    assert [child.exitcode for child in children] == [0, 0, 0]
    assert storage.read_text(storage.join(folder, "child-2")) == "from the parent 2"


def _read_and_write(folder: str, number: int) -> None:
    text = storage.read_text(storage.join(folder, "parent"))
    storage.write_text(storage.join(folder, f"child-{number}"), f"{text} {number}")


def test_a_second_server_runs_beside_the_first_and_stops_by_its_own_pids(s3_server: S3Server, tmp_path: Path) -> None:
    from jobs.local import s3

    root = tmp_path / "s3"
    second = s3.start(root)
    assert second.endpoint != s3_server.endpoint
    with pytest.raises(s3.S3ServerError, match="a server runs here already"):
        s3.start(root)
    s3.stop(root)
    s3.stop(root)
    assert not (root / "server.json").exists()
    assert storage.list_files("s3://no-such-bucket-here") == []  # the first still answers


def test_a_folder_with_other_files_is_not_emptied_for_a_server(s3_server: S3Server, tmp_path: Path) -> None:
    from jobs.local import s3

    (tmp_path / "mine").write_text("dear")
    with pytest.raises(s3.S3ServerError, match="found other files"):
        s3.start(tmp_path)
    assert (tmp_path / "mine").read_text() == "dear"


def test_what_killed_writers_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    for name in (".a.tar.x1y2.part", "below/.b.json.z.part", "c.part", ".hidden"):
        (tmp_path / name).write_bytes(b"x")
    storage.remove_parts(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == [".hidden", "below", "c.part"]
