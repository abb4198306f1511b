"""No damage to a shard set goes unseen, and each is named by shard and sample."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from inspected import RECIPES, flip, look, places_of, said
from shard_set_damage import DAMAGES, rewrite

from pipeline.inspect.verify import verify
from pipeline.samples.skeleton import POINTS
from tiny_shards import write_shard_set


@pytest.mark.parametrize("layout", RECIPES)
def test_what_was_prepared_is_whole(layout: str, prepared: Path) -> None:
    verified = verify(str(prepared / layout), 0)
    assert said(verified) == []
    assert verified.whole
    assert verified.finished
    assert verified.samples == look(prepared / layout).samples
    assert verified.bytes == sum(path.stat().st_size for path in (prepared / layout).glob("*.tar"))


def test_processes_find_the_same_as_one(shards: Path) -> None:
    flip(shards / "shard-000001.tar", 700)
    assert said(verify(str(shards), 2)) == said(verify(str(shards), 0)) != []


@pytest.mark.parametrize("layout", RECIPES)
def test_a_wrong_byte_anywhere_in_a_sample_names_shard_and_key(layout: str, prepared: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(prepared / layout, tmp_path / layout))
    place = places_of(folder, 1)[1]
    whole = (folder / "shard-000001.tar").read_bytes()
    headers = [place.offset + offset for offset in (0, 100, 148, 156)]
    for byte in [*headers, *np.random.default_rng(0).integers(place.offset, place.offset + place.bytes, 25)]:
        flip(folder / "shard-000001.tar", int(byte))
        sentences = said(verify(str(folder), 0))
        assert any("SHA-256" in sentence for sentence in sentences)
        named = f"shard-000001.tar: sample {place.key}: "
        assert any(sentence.startswith(named) for sentence in sentences), (byte - place.offset, sentences)
        (folder / "shard-000001.tar").write_bytes(whole)


def test_a_cut_tar_names_the_samples_that_are_gone(shards: Path) -> None:
    places = places_of(shards, 0)
    tar = shards / "shard-000000.tar"
    tar.write_bytes(tar.read_bytes()[: places[-1].offset + 700])
    sentences = said(verify(str(shards), 0))
    assert any(f"sample {places[-1].key}: expected {places[-1].bytes} bytes from byte" in one for one in sentences)
    assert any("shard-000000.tar: expected" in one and "bytes, found" in one for one in sentences)


def test_swapped_tars_are_known_by_their_hashes(shards: Path) -> None:
    one, other = shards / "shard-000000.tar", shards / "shard-000001.tar"
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    sentences = said(verify(str(shards), 0))
    assert any(re.match(r"shard-000000\.tar: expected the SHA-256 .* that of shard-000001", line) for line in sentences)
    assert any(re.match(r"shard-000001\.tar: expected the SHA-256 .* that of shard-000000", line) for line in sentences)
    assert any("sample video0_0000: expected its own files at byte 0, found video2_0000" in line for line in sentences)


@pytest.mark.parametrize("damaging", DAMAGES, ids=lambda damaging: damaging.__name__)
def test_damage_is_named(damaging: Callable[[Path], None], shards: Path) -> None:
    damaging(shards)
    sentences = said(verify(str(shards), 0))
    assert any(sentence.startswith(DAMAGES[damaging]) for sentence in sentences), sentences


def test_many_problems_of_a_shard_are_counted_and_the_first_are_told(prepared: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(prepared / "segments", tmp_path / "segments"))
    place = places_of(folder, 0)[0]
    rewrite(folder / "shard-000000.json", lambda index: index.update(samples=[index["samples"][0]] * 60))
    verified = verify(str(folder), 0)
    assert len([problem for problem in verified.problems if problem.key == place.key]) == 20
    assert verified.more >= 40


def test_files_of_others_are_noted_and_are_no_damage(shards: Path) -> None:
    (shards / "notes.txt").write_text("x")
    verified = verify(str(shards), 0)
    assert verified.whole
    assert verified.notes == ["1 files are none of the shard set's, such as notes.txt"]


def test_keypoints_are_of_as_many_frames_and_persons_as_the_json_says(tmp_path: Path) -> None:
    seen = [[(0.5, 0.5, 1.0)] * POINTS, None]

    def told(name: str, frames: list[object], without: str = "") -> str:
        folder = write_shard_set(tmp_path / name, 2, known={"keypoints": frames}, without=without)
        return " ".join(sentence for sentence in said(verify(str(folder), 0)) if "keypoints" in sentence)

    assert told("whole", [seen]) == ""
    assert ".keypoints.npy: expected 1 frames of 2 persons as the JSON says, found 2 of 2" in told("more", [seen, seen])
    assert "it has no .keypoints.npy, but 2 persons in its JSON" in told("none", [seen], "keypoints.npy")
