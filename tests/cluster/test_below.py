"""Names that come from elsewhere become local files below their folder, or are refused."""

import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import cluster
from cluster import storage
from cluster.errors import StorageError

ODD = [
    "../x",
    "a/../../x",
    "..",
    "/etc/passwd",
    "a//b",
    "a/",
    "",
    "./a",
    "a\\..\\b",
    "a\0b",
    "a\nb",
    "a\x1b[2Jb",
    "n" * 256,
    "\ud800",
]


@pytest.mark.parametrize("name", ODD)
def test_a_name_that_leads_elsewhere_or_can_be_no_files_is_refused_with_what_it_is(tmp_path: Path, name: str) -> None:
    with pytest.raises(StorageError, match="expected a name that can lie below a folder, found a") as caught:
        storage.local_places(["good.json", name], tmp_path, "s3://bucket/run")
    assert "s3://bucket/run" in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_a_file_that_is_another_ones_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"s3://b/r/a/b/c: expected a file in a folder, found a/b to be a file"):
        storage.local_places(["a/b/c", "a/b"], tmp_path, "s3://b/r")
    names = ["a/b", "a.b", "ab/c", "Ä/ü"]
    assert storage.local_places(names, tmp_path, "s3://b/r") == {name: tmp_path / name for name in names}


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text(st.sampled_from("./\\a\0é") | st.characters(), max_size=12), max_size=4))
@example([unicodedata.normalize("NFD", "é/..")])
def test_whatever_the_names_are_files_lie_below_the_folder_or_are_refused(names: list[str]) -> None:
    folder = Path("/folder/of/run")
    try:
        places = storage.local_places(names, folder, "s3://bucket/run")
    except StorageError:
        return
    for name, place in places.items():
        assert Path(str(place).replace("//", "/")).resolve().is_relative_to(folder)
        assert str(place.relative_to(folder)) == name
    assert not set(places.values()) & {parent for place in places.values() for parent in place.parents}


def test_no_other_place_cuts_names_out_of_listings() -> None:
    root = Path(cluster.__file__).parents[1]
    by_hand = re.compile(r"file\.url\[[^-]|rstrip\(\"/\"\)\) \+ 1|len\((run|url|base|folder)\b.*\) \+ 1 :\]")
    found = [
        f"{file.relative_to(root)}: {line.strip()}"
        for package in ("cluster", "pipeline", "jobs")
        for file in (root / package).rglob("*.py")
        for line in file.read_text().splitlines()
        if by_hand.search(line)
    ]
    assert [line.partition(":")[0] for line in found] == ["cluster/storage/below.py"], found
