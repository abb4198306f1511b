"""Files read, written, listed and copied with `cluster.storage`, on a local folder and on a real S3 server."""

import hashlib
import multiprocessing
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cluster import storage
from cluster.errors import MissingFileError, StorageError


def test_paths_and_urls_are_told_apart_and_joined() -> None:
    assert not storage.is_remote("/data/x")
    assert not storage.is_remote("file:///data/x")
    assert storage.is_remote("s3://bucket/x")
    assert storage.join("s3://bucket/a/", "b", "c") == "s3://bucket/a/b/c"
    assert storage.join("s3://bucket", "a") == "s3://bucket/a"
    assert storage.join(Path("a"), "b") == "a/b"
    assert storage.join("/", "b") == "/b"


@pytest.mark.parametrize("name", ["model.safetensors", "a\\..\\b", "n" * 300])
def test_a_local_copy_can_be_made_whatever_the_file_is_called(s3_bucket: str, name: str) -> None:
    storage.write_bytes(f"{s3_bucket}/x/{name}", b"content")
    with storage.local_copy(f"{s3_bucket}/x/{name}") as copy:
        assert copy.read_bytes() == b"content"
    assert not copy.parent.exists()


def test_text_is_utf8_and_a_byte_order_mark_is_dropped(folder: str) -> None:
    url = storage.join(folder, "text.txt")
    storage.write_text(url, "Geige → Ton\n")
    assert storage.read_text(url) == "Geige → Ton\n"
    storage.write_bytes(url, b"\xef\xbb\xbfa: 1")
    assert storage.read_text(url) == "a: 1"
    storage.write_bytes(url, b"ab\xff\xfe")
    with pytest.raises(StorageError, match=r"text.txt: expected UTF-8 text, found byte 2"):
        storage.read_text(url)


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


def test_links_are_listed_and_not_followed(tmp_path: Path) -> None:
    storage.write_text(tmp_path / "there/x", "123")
    (tmp_path / "here").mkdir()
    (tmp_path / "here/a").symlink_to(tmp_path / "there/x")
    (tmp_path / "here/b").symlink_to("nothing")
    (tmp_path / "here/c").symlink_to("c")
    (tmp_path / "here/d").symlink_to(tmp_path / "there")
    found = [(Path(file.url).name, file.size) for file in storage.list_files(tmp_path / "here")]
    assert found == [("a", 3), ("b", 0), ("c", 0)]


def test_a_large_file_goes_in_parts(s3_bucket: str, tmp_path: Path) -> None:
    content = os.urandom(1 << 20) * 70  # above s3fs's 50 MB, from where on it uploads in parts
    (tmp_path / "large").write_bytes(content)
    storage.upload(tmp_path / "large", f"{s3_bucket}/large")
    assert storage.size(f"{s3_bucket}/large") == len(content)
    assert storage.read_range(f"{s3_bucket}/large", (1 << 20) * 69, 64) == content[:64]


def test_a_file_url_is_a_local_path(tmp_path: Path) -> None:
    storage.write_text(f"file://{tmp_path}/x", "1")
    assert (tmp_path / "x").read_text() == "1"
    assert storage.read_text(f"file://{tmp_path}/x") == "1"
    assert [file.url for file in storage.list_files(f"file://{tmp_path}")] == [f"file://{tmp_path}/x"]


def test_a_file_url_goes_up_and_comes_down(folder: str, tmp_path: Path) -> None:
    (tmp_path / "here").write_text("1")
    storage.upload(f"file://{tmp_path}/here", storage.join(folder, "there"))
    storage.download(storage.join(folder, "there"), f"file://{tmp_path}/back")
    assert (tmp_path / "back").read_text() == "1"


def test_relative_paths_are_listed_as_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    storage.write_text("sub/x", "1")
    assert [file.url for file in storage.list_files("sub")] == ["sub/x"]


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
