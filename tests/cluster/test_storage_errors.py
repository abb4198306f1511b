"""What `cluster.storage` says where a file, a bucket, a right or a server is missing: one sentence."""

import errno
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cluster import storage
from cluster.errors import ForbiddenError, MissingFileError, StorageError
from cluster.patience import PATIENCE
from jobs.local.s3 import S3Server


def test_an_unknown_kind_of_storage_is_named() -> None:
    with pytest.raises(StorageError, match="nosuch://x/y: expected a path or a kind of storage that is known"):
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


def test_a_folder_that_cannot_be_read_is_said_and_not_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "lost+found"):
        storage.write_text(tmp_path / name / "x", "1")
    broken, scandir = {"lost+found"}, os.scandir

    def reading(folder: str) -> Any:
        if Path(folder).name in broken:
            raise OSError(errno.EIO, "Input/output error", folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", reading)
    assert [Path(file.url).parent.name for file in storage.list_files(tmp_path)] == ["a", "b"]
    broken.add("b")
    with pytest.raises(StorageError, match=f"{tmp_path}: can't list it: .*Input/output error: '{tmp_path}/b'"):
        storage.list_files(tmp_path)
    with pytest.raises(StorageError, match="can't list it: .*File name too long"):
        storage.list_files(tmp_path / ("x" * 300))
    assert storage.list_files(tmp_path / "a/x/y") == []


def test_a_full_disk_is_said_of_the_disk_and_not_of_the_storage(s3_bucket: str, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    storage.write_bytes(f"{s3_bucket}/x", bytes(200_000))
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("a disk can't be mounted here")
    try:
        with pytest.raises(StorageError, match=f"^{disk}/x: can't write it: .*No space left on device"):
            storage.download(f"{s3_bucket}/x", disk / "x")
        assert os.listdir(disk) == []
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_a_place_that_cannot_be_written_is_said_of_the_place(s3_bucket: str, tmp_path: Path) -> None:
    storage.write_bytes(f"{s3_bucket}/x", b"1")
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StorageError, match=f"^{tmp_path}/file/x: can't write it: "):
        storage.download(f"{s3_bucket}/x", tmp_path / "file/x")
