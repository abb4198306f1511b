"""`hf://`: repositories of the Hugging Face Hub, read at one commit and never written to; see `hub_server`."""

import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import storage
from cluster.errors import ChangedFileError, ForbiddenError, MissingFileError, StorageError, UnreachableError
from cluster.patience import PATIENCE

pytest.importorskip("huggingface_hub")

from hub_server import Hub, running_hub

SHARDS = "hf://datasets/someone/videos/shards"
CONTENT = bytes(range(256)) * 40


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with one dataset."""
    with running_hub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
        files = {"shards/a/x y+ü.tar": CONTENT, "shards/dataset.json": b'{"shards": []}', "shards-beside/z": b""}
        running.commit("someone/videos", files)
        yield running


def test_a_repository_is_listed_and_read_in_wholes_and_ranges(hub: Hub, tmp_path: Path) -> None:
    tar = f"{SHARDS}/a/x y+ü.tar"
    files = [(tar, len(CONTENT)), (f"{SHARDS}/dataset.json", 14)]
    assert [(file.url, file.size) for file in storage.list_files(SHARDS)] == files
    assert storage.list_folders(SHARDS) == ["a"]
    assert storage.list_files(f"{SHARDS}/none") == []
    assert [storage.exists(f"{SHARDS}/{name}") for name in ("a", "dataset.json", "none", "none/x")] == [1, 1, 0, 0]
    assert storage.read_bytes(tar) == CONTENT
    assert storage.read_json(f"{SHARDS}/dataset.json") == {"shards": []}
    assert storage.read_range(f"{SHARDS}/dataset.json", 2, 6) == b"shards"
    ranges = [(0, 3), (700, 500), (len(CONTENT) - 2, 10), (len(CONTENT), 5)]
    assert [storage.read_range(tar, *part) for part in ranges] == [
        CONTENT[start : start + length] for start, length in ranges
    ]
    parts = [(tar, start, 7, storage.version(tar)) for start in range(0, 700, 7)]
    assert list(storage.read_parts(parts, readers=8)) == [CONTENT[start : start + 7] for _, start, _, _ in parts]
    storage.download(tar, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == CONTENT


def test_a_process_sees_one_commit_and_the_next_one_what_was_replaced(hub: Hub) -> None:
    tar, listed = f"{SHARDS}/a/x y+ü.tar", f"{SHARDS}/dataset.json"
    before = {url: storage.version(url) for url in (tar, listed)}
    hub.commit("someone/videos", {"shards/a/x y+ü.tar": CONTENT[::-1], "shards/dataset.json": b'{"shards": []}'})
    assert storage.read_part(tar, 0, 9, before[tar]) == CONTENT[:9]
    with multiprocessing.get_context("fork").Pool(1) as other:  # as another process, with a client of its own
        changed, same = other.apply(_read_elsewhere, (before[tar], before[listed]))
    assert changed == "expected the version that was there before, found another"
    assert same == b'{"s'


def _read_elsewhere(before: storage.FileVersion, listed: storage.FileVersion) -> tuple[str, bytes]:
    try:
        storage.read_part(f"{SHARDS}/a/x y+ü.tar", 0, 9, before)
    except ChangedFileError as error:
        return str(error).partition(": ")[2], storage.read_part(f"{SHARDS}/dataset.json", 0, 3, listed)
    return "nothing", b""


def test_an_old_commit_is_read_by_its_name(hub: Hub) -> None:
    first = hub.commit("someone/lists", {"list.csv": b"old"})
    hub.commit("someone/lists", {"list.csv": b"new"})
    assert storage.read_text(f"hf://datasets/someone/lists@{first}/list.csv") == "old"
    assert storage.read_text("hf://datasets/someone/lists/list.csv") == "new"
    (file,) = storage.list_files(f"hf://datasets/someone/lists@{first}")
    assert (file.url, storage.read_bytes(file.url)) == (f"hf://datasets/someone/lists@{first}/list.csv", b"old")


def test_nothing_is_written_and_the_sentence_says_what_is_missing(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    url = f"{SHARDS}/new"
    for action in (
        lambda: storage.write_bytes(url, b"1"),
        lambda: storage.create(url, b"1"),
        lambda: storage.upload(tmp_path / "x", url),
        lambda: storage.remove(url),
        lambda: storage.check_writable(SHARDS),
    ):
        with pytest.raises(ForbiddenError, match=r"the Hugging Face Hub is only read: .* two jobs could take the same"):
            action()
    assert hub.asked == []


def test_what_can_not_be_read_is_one_sentence(hub: Hub) -> None:
    hub.gated.add("someone/gated")
    expected = {
        f"{SHARDS}/none": (MissingFileError, "no such file"),
        f"{SHARDS}/none/none": (MissingFileError, "no such file"),
        "hf://datasets/someone/videos@v9/x": (MissingFileError, "no such file"),
        "hf://datasets/no/body/x": (
            ForbiddenError,
            "no such repository, or none that the account of HF_TOKEN may read",
        ),
        "hf://datasets/someone/gated/x": (ForbiddenError, "the repository is gated: ask for access on its page"),
        "hf://buckets/someone/bucket/x": (ForbiddenError, "can't be asked for one version"),
        "hf://x": (StorageError, "expected hf://datasets/USER/NAME"),
    }
    for url, (kind, sentence) in expected.items():
        for action in (storage.read_bytes, storage.size, lambda url: storage.read_range(url, 0, 1)):
            with pytest.raises(kind, match=sentence) as said:
                action(url)
            assert str(said.value).startswith(f"{url}: ")
            assert "\n" not in str(said.value)


def test_faults_that_pass_are_waited_for_and_others_said(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.failing = [503, 502]
    assert storage.read_range(f"{SHARDS}/a/x y+ü.tar", 5, 5) == CONTENT[5:10]
    monkeypatch.setenv(PATIENCE, "0.5")
    hub.failing = [500] * 20
    with pytest.raises(UnreachableError, match="can't read it: .*; gave up after"):
        storage.read_bytes(f"{SHARDS}/dataset.json")
    hub.failing = []
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UnreachableError, match="can't list it: .*; gave up after"):
        storage.list_files(SHARDS)


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.delitem(sys.modules, "cluster.hub.filesystem", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{os.getpid()}")  # a client that is not there yet
    with pytest.raises(StorageError, match=r"hf://: expected the packages .*, found no .*: pip install 'gavt\[hub\]'"):
        storage.read_bytes(f"{SHARDS}/x")
