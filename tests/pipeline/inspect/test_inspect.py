"""`gavt inspect` as a command: it shows, writes and counts, and its exit code says whether all is whole."""

import json
import re
from pathlib import Path

import pytest
from html_page import Page
from inspected import flip, look, places_of, said

from cluster import storage
from jobs.cli import main
from pipeline.inspect.verify import verify


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["inspect", *words])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_the_command_shows_writes_and_counts(shards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(str(shards), "--cards", "2", "--json") == 0
    out, shown = capsys.readouterr()
    result = json.loads(out.splitlines()[-1])
    assert (result["samples"], result["failed"], result["html"]) == (
        look(shards).samples,
        1,
        str(shards / "inspect.html"),
    )
    assert (shards / "inspect.html").stat().st_size > 10_000
    assert "missing" in shown
    assert verify(str(shards), 0).whole  # the page is no damage


def test_the_command_ends_with_2_and_a_sentence_where_something_is_wrong(
    shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(str(shards), "--verify", "--workers", "0") == 0
    assert "whole" in capsys.readouterr().out
    key = places_of(shards, 0)[0].key
    flip(shards / "shard-000000.tar", places_of(shards, 0)[0].offset + 600)
    assert run(str(shards), "--verify", "--workers", "0", "--json") == 2
    out, sentences = capsys.readouterr()
    result = json.loads(out.splitlines()[-1])
    assert result["whole"] is False
    assert {problem["key"] for problem in result["problems"]} == {None, key}
    sentence = rf"gavt: {shards}: found \d problems, such as shard-000000\.tar: expected the SHA-256 .*"
    assert re.fullmatch(sentence, sentences.splitlines()[-1])


def test_a_shard_set_on_s3_is_looked_at_and_checked_where_it_lies(
    prepared: Path, s3_bucket: str, tmp_path: Path
) -> None:
    for path in (prepared / "clip").rglob("*"):
        if path.is_file():
            storage.upload(path, f"{s3_bucket}/clip/{path.relative_to(prepared / 'clip')}")
    local, there = look(prepared / "clip"), look(f"{s3_bucket}/clip")
    assert (there.samples, there.labels, there.bytes) == (local.samples, local.labels, local.bytes)
    assert verify(f"{s3_bucket}/clip", 1).whole
    assert run(f"{s3_bucket}/clip", "--html", str(tmp_path / "page.html"), "--cards", "1") == 0
    assert len(Page((tmp_path / "page.html").read_text()).media["video"]) == 1
    storage.remove(f"{s3_bucket}/clip/shard-000000.tar")
    assert said(verify(f"{s3_bucket}/clip", 0)) == ["shard-000000.tar: it is missing, but its JSON is there"]
