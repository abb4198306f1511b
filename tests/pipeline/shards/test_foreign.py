"""Shards that others wrote with webdataset are streamed as they are; the index they lack is made once."""

import io
import json
import logging
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset
from media_bytes import picture, sound

from cluster import storage
from cluster.errors import StorageError
from frames_and_sound import frames_and_sound
from pipeline.errors import ShardSetError
from pipeline.shards.foreign import index as foreign_index
from pipeline.shards.foreign.index import open_foreign
from pipeline.shards.foreign.naming import split_name
from pipeline.shards.foreign.sample import read_foreign
from pipeline.shards.foreign.scan import scan_tar
from pipeline.shards.members import Sample, read_sample
from pipeline.shards.shard_set import ShardSet
from pipeline.stream.decode import decode_sample
from tiny_shards import write_shard_set

SPEC = frames_and_sound(1, 32, None, 11025, 4000, 1)


def sample(number: int, **files: Any) -> dict[str, Any]:
    return {"__key__": f"s{number:04d}", "jpg": picture(number), "flac": sound(number)} | files


def write_tar(path: Path, samples: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with webdataset.TarWriter(str(path), encoder=False) as writer:
        for one in samples:
            writer.write(one)
    return path


def read_all(url: str) -> Iterator[Sample]:
    """All samples, as the shard set reads them."""
    index = open_foreign(url)
    assert index is not None
    for name, samples in index.shards:
        places = storage.read_json(storage.join(index.indexes, name.removesuffix(".tar") + ".json"))["samples"]
        assert len(places) == samples
        for place in places:
            content = storage.read_range(storage.join(url, name), place["offset"], place["bytes"])
            yield read_foreign(content, place["key"], name)


def scans(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the tars that are looked into from now on."""
    seen: list[str] = []

    def noting(url: str, name: str, *words: Any) -> Any:
        seen.append(name)
        return scan_tar(url, name, *words)

    monkeypatch.setattr(foreign_index, "scan_tar", noting)
    return seen


def test_every_sample_is_what_webdataset_reads(tmp_path: Path) -> None:
    with webdataset.ShardWriter(str(tmp_path / "train-%04d.tar"), maxcount=4, encoder=False, verbose=0) as writer:
        for number in range(10):
            writer.write(sample(number, cls=str(number % 3).encode()))
    urls = [str(tmp_path / f"train-{number:04d}.tar") for number in range(3)]
    theirs = list(webdataset.WebDataset(urls, shardshuffle=False, empty_check=False))
    ours = list(read_all(str(tmp_path)))
    assert [one.key for one in ours] == [one["__key__"] for one in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert (one.images, one.audio, one.clip) == ([other["jpg"]], other["flac"], None)
        assert one.metadata.labels == [other["cls"].decode()]
        decoded = decode_sample(one, SPEC)
        assert decoded.arrays["sound"].shape == (1, 4000)
    assert ours[5].metadata.source == "train-0001.tar#s0005"
    assert (ours[5].metadata.audio_rate_hz, ours[5].metadata.audio_samples) == (22050, 11025)


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_are_grouped_as_webdataset_groups_them(format: int, tmp_path: Path) -> None:
    names = ["__meta__", "a/x.jpg", "a/x.FLAC", "folder.with.dots/y.z.jpg", "folder.with.dots/y.seg.flac", "README"]
    names += ["w" * 90 + "/" + "v" * 60 + "é.jpg", "w" * 90 + "/" + "v" * 60 + "é.flac", "a/x.jpg", "a/x.flac"]
    if format == tarfile.USTAR_FORMAT:
        names = [name.replace("é", "e") for name in names]
    with tarfile.open(tmp_path / "a.tar", "w", format=format) as tar:
        for number, name in enumerate(names):
            content = picture(number) if name.endswith("jpg") else sound(number)
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    theirs = list(webdataset.WebDataset(str(tmp_path / "a.tar"), shardshuffle=False, empty_check=False))
    ours = list(read_all(str(tmp_path)))
    assert [one.key for one in ours] == [one["__key__"] for one in theirs]
    assert len(ours) == 4
    for one, other in zip(ours, theirs, strict=True):
        files = [content for name, content in other.items() if not name.startswith("__")]
        assert [*one.images, one.audio] == files


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("a.jpg", ("a", "jpg")),
        ("a/b.c/d.E.jpg", ("a/b.c/d", "e.jpg")),
        ("a", None),
        ("a/.hidden", ("a/", "hidden")),
        ("__meta__", None),
        ("__meta__/a.jpg", None),
    ],
)
def test_key_and_extension(name: str, split: tuple[str, str] | None) -> None:
    assert split_name(name) == split
    if not name.startswith("__"):
        assert webdataset.tariterators.base_plus_ext(name.lower()) == (split or (None, None))


def test_our_own_tars_alone_give_the_same_samples(tmp_path: Path) -> None:
    folder = write_shard_set(tmp_path / "ours", samples=9)
    content = (folder / "shard-000000.tar").read_bytes()
    places = json.loads((folder / "shard-000000.json").read_text())["samples"]
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone/a.tar").write_bytes(content)
    for one, place in zip(read_all(str(tmp_path / "alone")), places, strict=False):
        own = read_sample(content[place["offset"] : place["offset"] + place["bytes"]], place["key"])
        assert (one.key, one.metadata, one.images, one.audio) == (own.key, own.metadata, own.images, own.audio)


def test_what_lacks_picture_or_sound_is_left_out_and_counted_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    silent = {"__key__": "silent", "jpg": picture(1), "txt": b"a caption"}
    blind = {"__key__": "blind", "flac": sound(1)}
    write_tar(tmp_path / "a.tar", [sample(0), silent, blind, sample(1)])
    write_tar(tmp_path / "b.tar", [silent | {"__key__": "more"}, sample(2)])
    for _ in range(2):
        caplog.clear()
        assert [one.key for one in read_all(str(tmp_path))] == ["s0000", "s0001", "s0002"]
        said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert said == [f"{tmp_path}: left out: 1 with no image, 2 with no sound"]


def test_a_set_without_any_sample_is_refused(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", [{"__key__": "x", "jpg": picture(1)}])
    with pytest.raises(
        ShardSetError, match="expected samples with picture and sound in its 1 tars, found 1 with no so"
    ):
        open_foreign(str(tmp_path))
    (tmp_path / "empty").mkdir()
    assert open_foreign(str(tmp_path / "empty")) is None
    assert open_foreign(str(tmp_path / "nothing")) is None


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tgz", "a.tar"])
def test_compressed_tars_are_refused_with_a_sentence(name: str, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / name, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("a.txt"))
    with pytest.raises(
        ShardSetError, match=rf"{name}: expected a plain tar, found one compressed with gzip.*uncompress"
    ):
        open_foreign(str(tmp_path))


@pytest.mark.parametrize(("damage", "left"), [("cut", 2), ("header", 2), ("all", 0)])
def test_what_lies_before_damage_is_used_and_the_damage_named(
    damage: str, left: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_tar(tmp_path / "a.tar", [sample(9)])
    path = write_tar(tmp_path / "b.tar", [sample(number) for number in range(4)])
    content = bytearray(path.read_bytes())
    third = content.index(b"s0002")
    if damage == "header":
        content[third + 110] ^= 1
    elif damage == "all":
        content[:512] = b"x" * 512
    path.write_bytes(content[: third + 700] if damage == "cut" else content)
    assert [one.key for one in read_all(str(tmp_path))] == ["s0009", "s0000", "s0001"][: 1 + left]
    said = [record.getMessage() for record in caplog.records if "damaged" in record.getMessage()]
    assert len(said) == 1
    assert said[0].startswith(f"{path}: damaged, byte ")
    assert said[0].endswith(f"the {left} samples before that are used")


def test_the_index_is_made_once_and_anew_for_a_tar_that_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "deep/c"):
        write_tar(tmp_path / f"{name}.tar", [sample(number) for number in range(3)])
    seen = scans(monkeypatch)
    assert len(list(read_all(str(tmp_path)))) == 9
    assert sorted(seen) == ["a.tar", "b.tar", "deep/c.tar"]
    assert (tmp_path / "gavt-index/deep/c.json").is_file()
    seen.clear()
    assert len(list(read_all(str(tmp_path)))) == 9
    assert not seen
    write_tar(tmp_path / "b.tar", [sample(number) for number in range(5)])
    write_tar(tmp_path / "d.tar", [sample(7)])
    assert len(list(read_all(str(tmp_path)))) == 12
    assert sorted(seen) == ["b.tar", "d.tar"]
    (tmp_path / "a.tar").unlink()
    assert len(list(read_all(str(tmp_path)))) == 9


def test_an_index_says_that_it_comes_further_tar_by_tar_and_inside_of_large_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tar(tmp_path / "small.tar", [sample(0)])
    write_tar(tmp_path / "large.tar", [sample(number) for number in range(6)])
    monkeypatch.setattr("pipeline.shards.foreign.scan._FILES_A_WORD", 5)
    moves: list[int] = []
    files = 6 * len(sample(0)) - 6  # all but the key
    for _ in range(2):
        open_foreign(str(tmp_path), lambda: moves.append(1))
    assert len(moves) == 2 + files // 5


def test_a_killed_attempt_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abcde":
        write_tar(tmp_path / f"{name}.tar", [sample(1)])
    asked: list[str] = []

    def failing(url: str, name: str, *words: Any) -> Any:
        asked.append(name)
        if len(asked) == 4:
            raise StorageError("gone")
        return scan_tar(url, name, *words)

    monkeypatch.setattr(foreign_index, "_AT_ONCE", 1)
    monkeypatch.setattr(foreign_index, "scan_tar", failing)
    with pytest.raises(StorageError, match="gone"):
        open_foreign(str(tmp_path))
    done = {f"{file.stem}.tar" for file in (tmp_path / "gavt-index").glob("*.json")}
    assert len(done) >= 3
    again = scans(monkeypatch)
    assert len(list(read_all(str(tmp_path)))) == 5
    assert set(again) | done == {f"{name}.tar" for name in "abcde"}
    assert not set(again) & done


@pytest.mark.parametrize("content", ["", "{", '{"version": 7}'])
def test_a_torn_or_foreign_index_is_made_anew(content: str, tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", [sample(1), sample(2)])
    open_foreign(str(tmp_path))
    (tmp_path / "gavt-index/SUMMARY").write_text(content)
    (tmp_path / "gavt-index/a.json").write_text(content)
    assert [one.key for one in read_all(str(tmp_path))] == ["s0001", "s0002"]


def test_where_nothing_may_be_written_the_index_lies_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("GAVT_CACHE", str(tmp_path / "cache"))
    for folder in ("one", "two"):
        write_tar(tmp_path / folder / "a.tar", [sample(len(folder))])
        (tmp_path / folder / "gavt-index").write_text("a file where the folder should be")
    found = [open_foreign(str(tmp_path / folder)) for folder in ("one", "two")]
    assert all(index is not None and index.indexes.startswith(str(tmp_path / "cache")) for index in found)
    assert len({index.indexes for index in found if index is not None}) == 2
    assert "can't lie beside them" in caplog.text
    seen = scans(monkeypatch)
    assert [one.key for one in read_all(str(tmp_path / "one"))] == ["s0003"]
    assert not seen


@pytest.mark.parametrize("planted", ["link", "open to others", "another's"])
def test_an_index_in_a_cache_that_others_can_change_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planted: str
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("GAVT_CACHE", str(cache))
    write_tar(tmp_path / "data/a.tar", [sample(1)])
    (tmp_path / "data/gavt-index").write_text("a file where the folder should be")
    index = open_foreign(str(tmp_path / "data"))
    assert index is not None
    assert index.indexes.startswith(str(cache))
    if planted == "link":
        cache.rename(tmp_path / "theirs")
        cache.symlink_to(tmp_path / "theirs")
    elif planted == "open to others":
        (cache / "foreign").chmod(0o777)
    elif os.geteuid() == 0:
        os.chown(index.indexes, 54_321, 54_321)
    else:
        pytest.skip("only root can give folders to another user")
    seen = scans(monkeypatch)
    with pytest.raises(ShardSetError, match="expected a folder that only this user can change"):
        open_foreign(str(tmp_path / "data"))
    assert not seen


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's link")
def test_an_index_beside_the_tars_is_not_written_through_a_link_of_another_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAVT_CACHE", str(tmp_path / "cache"))
    write_tar(tmp_path / "data/a.tar", [sample(1)])
    (tmp_path / "home").mkdir()
    (tmp_path / "data/gavt-index").symlink_to(tmp_path / "home")
    os.chown(tmp_path / "data/gavt-index", 54_321, 54_321, follow_symlinks=False)
    index = open_foreign(str(tmp_path / "data"))
    assert index is not None
    assert index.indexes.startswith(str(tmp_path / "cache"))
    assert list((tmp_path / "home").iterdir()) == []
    os.chown(tmp_path / "data/gavt-index", os.geteuid(), os.getegid(), follow_symlinks=False)
    write_tar(tmp_path / "data/b.tar", [sample(2)])
    assert len(list(read_all(str(tmp_path / "data")))) == 2
    assert (tmp_path / "home" / "b.json").exists()  # one's own link leads where one wants


@pytest.mark.parametrize(
    "place", [{"offset": -512}, {"bytes": 10**12}, {"offset": 10**6}, {"bytes": -1}, {"offset": 10**30}]
)
def test_places_outside_the_tar_are_refused(tmp_path: Path, place: dict[str, int]) -> None:
    write_tar(tmp_path / "a.tar", [sample(1), sample(2)])
    shards = ShardSet.open(str(tmp_path))
    file = tmp_path / "gavt-index/a.json"
    content = json.loads(file.read_text())
    content["samples"][1] |= place
    file.write_text(json.dumps(content))
    (found,) = shards.places([1])
    assert isinstance(found, ShardSetError)
    assert str(found).startswith(f"{file}: expected ")


def test_two_processes_may_make_the_index_at_once(tmp_path: Path) -> None:
    for number in range(12):
        write_tar(tmp_path / f"{number:02d}.tar", [sample(number)])
    code = f"from pipeline.shards.foreign.index import open_foreign; print(open_foreign({str(tmp_path)!r}).shards)"
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [process.communicate(timeout=60)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert answers == [f"{[(f'{number:02d}.tar', 1) for number in range(12)]}\n"] * 2


def test_local_tars_are_read_by_their_headers_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_tar(tmp_path / "a.tar", [sample(number, wav=bytes(1 << 20)) for number in range(6)])
    read = 0
    pread = foreign_index.scan_tar.__globals__["os"].pread

    def counting(handle: int, size: int, at: int) -> bytes:
        nonlocal read
        read += size
        return bytes(pread(handle, size, at))

    monkeypatch.setattr("os.pread", counting)
    assert len(scan_tar(str(path), "a.tar", storage.version(path)).samples) == 6
    assert read < 6 * 3 * 3 * 512 + 2000


def test_tars_on_s3_are_indexed_beside_them_without_reading_large_files(
    s3_bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tar(tmp_path / "small.tar", [sample(number) for number in range(40)])
    noise = np.random.default_rng(0).bytes(5 << 20)
    write_tar(tmp_path / "deep/large.tar", [sample(number, bin=noise) for number in range(4)])
    for name in ("small.tar", "deep/large.tar"):
        storage.upload(tmp_path / name, f"{s3_bucket}/set/{name}")
    read = []
    read_part = storage.read_part

    def counting(url: str, start: int, length: int, version: storage.FileVersion | None = None) -> bytes:
        read.append((url, length))
        return read_part(url, start, length, version)

    monkeypatch.setattr(storage, "read_part", counting)
    theirs = [one.key for one in read_all(str(tmp_path))]
    read.clear()
    assert [one.key for one in read_all(f"{s3_bucket}/set")] == theirs
    large = [length for url, length in read if url.endswith("large.tar")]
    assert sum(large) < 1 << 20  # of 21
    assert [url for url, _ in read if url.endswith("small.tar")] == [f"{s3_bucket}/set/small.tar"] * 2
    names = [file.url.removeprefix(f"{s3_bucket}/set/") for file in storage.list_files(f"{s3_bucket}/set")]
    made = ["gavt-index/SUMMARY", "gavt-index/deep/large.json", "gavt-index/small.json"]
    assert names == ["deep/large.tar", *made, "small.tar"]
    read.clear()
    storage.upload(tmp_path / "deep/large.tar", f"{s3_bucket}/set/small.tar")
    index = open_foreign(f"{s3_bucket}/set")
    assert index is not None
    assert index.shards == [("deep/large.tar", 4), ("small.tar", 4)]
    assert {url.rsplit("/", 1)[1] for url, _ in read} == {"small.tar"}
