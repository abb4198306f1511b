"""`gavt inspect`: the figures are right, the page needs nothing beside it, and no damage goes unseen."""

import base64
import io
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from barcode_video import write_video
from cluster import storage
from jobs.cli import main
from listed_rows import ListedRows
from pipeline.errors import ShardSetError
from pipeline.prepare.inspect.contact_sheet import write_sheet
from pipeline.prepare.inspect.contents import read_contents
from pipeline.prepare.inspect.spectrogram import HEIGHT, WIDTH, draw_spectrogram
from pipeline.prepare.inspect.summary import Summary, summarise
from pipeline.prepare.inspect.verify import Verified, verify
from pipeline.prepare.inspect.words import hours, size, spread
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.prepare import in_this_process, prepare
from pipeline.prepare.settings import PrepareSettings
from pipeline.prepare.shard import read_indexes

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SMALL = {"min_clip_s": 1, "rows_per_shard": 2, "frame_height": 120}
RECIPES = {
    "frame": PrepareSettings(frame_rate_hz=1, audio_samples=11025, **SMALL),
    "clip": PrepareSettings(layout="clip", clip_s=1.5, clip_fps=25, audio_rate_hz=21000, channels=2, **SMALL),
    "segments": PrepareSettings(layout="segments", segments=3, **SMALL),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a shard set of each layout: two shards of two videos, and one with a video that is missing."""
    videos = tmp_path_factory.mktemp("videos")
    rows = []
    for number in range(4):
        path = write_video(videos / f"video{number}.mp4", 3.1 + 0.1 * number)
        labels, split = (("dog", "<i>bark</i>") if number % 2 else ("cat",)), ("test" if number == 3 else "train")
        seconds = (("dog",), (), ("dog",)) if number % 2 else None
        rows.append(VideoRow(f"video{number}", str(path), labels=labels, split=split, segment_labels=seconds))
    rows.append(VideoRow("gone", str(videos / "gone.mp4")))
    folder = tmp_path_factory.mktemp("shards")
    for layout, settings in RECIPES.items():
        prepare(ListedRows(rows), str(folder / layout), settings, in_this_process)
    return folder


@pytest.fixture
def shards(made: Path, tmp_path: Path) -> Path:
    """A shard set of layout `frame` that may be damaged."""
    return Path(shutil.copytree(made / "frame", tmp_path / "frame"))


def look(url: Path | str, most_samples: int | None = 500) -> Summary:
    return summarise(read_contents(str(url)), most_samples, 0)


def places_of(folder: Path, number: int) -> list[Any]:
    (index,) = read_indexes(str(folder), [number])
    return index.samples


def said(verified: Verified) -> list[str]:
    return [str(problem) for problem in verified.problems]


# figures


def test_figures_are_those_of_what_was_prepared(made: Path) -> None:
    summary = look(made / "frame")
    assert (summary.finished, summary.shards_done, summary.shards_planned) == (True, 3, 3)
    assert (summary.videos, summary.videos_planned, summary.failed) == (5, 5, 1)
    assert summary.reasons == {"missing": 1}
    assert "gone.mp4" in summary.examples["missing"]
    assert summary.samples == summary.looked_at == sum(len(places_of(made / "frame", number)) for number in range(3))
    assert summary.bytes == sum(path.stat().st_size for path in (made / "frame").glob("*.tar"))
    assert summary.resolutions == {"210×120": summary.samples}
    assert summary.labels["dog"] == summary.labels["<i>bark</i>"]
    assert sum(summary.splits.values()) == summary.samples
    assert summary.audio_hours == pytest.approx(summary.samples / 3600)
    assert summary.audio_s is not None
    assert (summary.audio_s.least, summary.audio_s.median, summary.audio_s.most) == (1, 1, 1)
    assert summary.settings is not None
    assert summary.settings["frame_rate_hz"] == 1


def test_clips_and_segments_have_figures_too(made: Path) -> None:
    clips, segments = look(made / "clip"), look(made / "segments")
    assert (clips.samples, clips.layouts, clips.resolutions) == (8, ["clip"], {"210×120": 8})
    assert clips.frames is not None
    assert (clips.frames.least, clips.frames.most) == (37, 37)
    assert (segments.samples, segments.layouts) == (4, ["segments"])
    assert segments.frames is not None
    assert segments.frames.median == 3


def test_some_samples_by_chance_are_the_same_ones_again(made: Path) -> None:
    assert look(made / "frame", 3) == look(made / "frame", 3)
    assert look(made / "frame", 3).looked_at == 3
    assert look(made / "frame", None) == look(made / "frame")


def test_an_unfinished_shard_set_is_shown_as_far_as_it_is(shards: Path) -> None:
    whole = look(shards)
    for name in ("dataset.json", "ledger.jsonl", "shard-000001.json", "shard-000001.tar"):
        (shards / name).unlink()
    summary = look(shards)
    assert (summary.finished, summary.shards_done, summary.shards_planned) == (False, 2, 3)
    assert (summary.videos, summary.videos_planned, summary.failed) == (3, 5, 1)
    assert summary.reasons == {"missing": 1}
    assert "gone.mp4" in summary.examples["missing"]
    assert summary.samples == whole.samples - 3 * 2
    assert look(shards, None) == summary
    verified = verify(str(shards), 0)
    assert said(verified) == []
    assert verified.notes == ["not finished: 2 of 3 shards are done; gavt prepare makes the others"]


def test_a_plan_alone_is_a_shard_set_without_samples(shards: Path, tmp_path: Path) -> None:
    for path in [*shards.glob("shard-*"), shards / "dataset.json", shards / "ledger.jsonl"]:
        path.unlink()
    summary = look(shards)
    assert (summary.samples, summary.looked_at, summary.shards_planned) == (0, 0, 3)
    write_sheet(read_contents(str(shards)), summary, str(tmp_path / "page.html"), 24, 0)
    assert "not finished" in (tmp_path / "page.html").read_text()


def test_a_folder_of_something_else_is_said(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ShardSetError, match="expected a shard set"):
        read_contents(str(tmp_path))


def test_a_sample_that_cannot_be_read_is_said_and_the_others_are_shown(shards: Path) -> None:
    damage(shards / "shard-000000.tar", places_of(shards, 0)[1].offset + 10, b"\xff" * 200)
    summary = look(shards)
    assert len(summary.unreadable) == 1
    assert places_of(shards, 0)[1].key in summary.unreadable[0]
    assert summary.looked_at == summary.samples - 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (size(0), "0 B"),
        (size(999), "999 B"),
        (size(1234567), "1.23 MB"),
        (size(5e12), "5.00 TB"),
        (hours(0.01), "36 s"),
        (hours(0.5), "30.0 min"),
        (hours(12345), "12,345.0 h"),
        (spread(None), "–"),
    ],
)
def test_figures_are_written_in_the_unit_that_fits(words: str, expected: str) -> None:
    assert words == expected


# the page


class Page(HTMLParser):
    """What of a page leads outside, the media in it, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.outside: list[str] = []
        self.media: dict[str, list[bytes]] = {}
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in {"src", "href", "srcset", "action", "poster", "data"} and value is not None:
                if value.startswith("data:"):
                    self.media.setdefault(tag, []).append(base64.b64decode(value.split(",", 1)[1]))
                elif not value.startswith("#"):
                    self.outside.append(f"{tag} {name}={value}")

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(folder: Path, target: Path, cards: int = 6) -> Page:
    contents = read_contents(str(folder))
    write_sheet(contents, summarise(contents, 500, 0), str(target), cards, 0)
    html = target.read_text()
    assert "@import" not in html
    assert not re.findall(r"url\((?!#|data:)", html)
    return Page(html)


@pytest.mark.parametrize("layout", RECIPES)
def test_the_page_needs_nothing_beside_it(layout: str, made: Path, tmp_path: Path) -> None:
    page = page_of(made / layout, tmp_path / "page.html", 4)
    assert page.outside == []
    for text in ("dog", "<i>bark</i>", "train", "missing", "gone.mp4: no such file", "210×120", "video0_0000"):
        assert text in page.text, text
    pictures = {"frame": 1, "clip": 6, "segments": 3}[layout]
    assert len(page.media["img"]) == 4 * (pictures + 1)
    for content in page.media["img"]:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
    players = page.media["video" if layout == "clip" else "audio"]
    assert len(players) == 4
    for content in players:
        with av.open(io.BytesIO(content)) as container:
            assert sum(frame.samples for frame in container.decode(audio=0)) > 10000
    assert ("· background" in page.text) == (layout == "segments")
    if layout == "clip":
        with av.open(io.BytesIO(players[0])) as container:
            assert sum(1 for _ in container.decode(video=0)) == 37


def test_a_damaged_sample_has_a_card_that_says_so(shards: Path, tmp_path: Path) -> None:
    place = places_of(shards, 0)[0]
    damage(shards / "shard-000000.tar", place.offset + 10, b"\xff" * 200)
    page = page_of(shards, tmp_path / "page.html", 100)
    assert f"sample {place.key}" in page.text
    assert len(page.media["audio"]) == look(shards).samples - 1


def test_the_spectrogram_shows_high_tones_above_low_ones_and_late_ones_to_the_right() -> None:
    time_s = np.arange(4 * 11025) / 11025
    tone = np.where(time_s < 2, np.sin(2 * np.pi * 200 * time_s), np.sin(2 * np.pi * 3200 * time_s))
    with Image.open(io.BytesIO(draw_spectrogram((tone * 8000).astype(np.int16)[None], 11025))) as image:
        assert image.size == (WIDTH, HEIGHT)
        light = np.asarray(image.convert("L")).astype(float)
    left, right = light[:, 20 : WIDTH // 2 - 20].mean(axis=1), light[:, WIDTH // 2 + 20 : -20].mean(axis=1)
    octaves = np.log2(11025 / 2 / 50)
    assert HEIGHT - 1 - left.argmax() == pytest.approx(HEIGHT * 2 / octaves, abs=3)
    assert HEIGHT - 1 - right.argmax() == pytest.approx(HEIGHT * 6 / octaves, abs=3)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed to look at the page with")
def test_a_real_browser_shows_the_page(made: Path, tmp_path: Path) -> None:
    page_of(made / "clip", tmp_path / "page.html")
    assert BROWSER is not None
    command = [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1280,1600", "--virtual-time-budget=3000"]
    done = subprocess.run(
        [*command, f"--screenshot={tmp_path / 'page.png'}", (tmp_path / "page.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    assert (tmp_path / "page.png").exists(), done.stderr
    with Image.open(tmp_path / "page.png") as image:
        pixels = np.array(image.convert("RGB"))
    assert len(np.unique(pixels.reshape(-1, 3) @ np.array([1 << 16, 1 << 8, 1]))) > 500  # pictures, not only text
    assert (pixels.std(axis=1).max(axis=1) > 3).mean() > 0.5


# whether it is whole


def damage(path: Path, place: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        file.write(content)


def flip(path: Path, place: int) -> None:
    content = path.read_bytes()
    damage(path, place, bytes([content[place] ^ 4]))


def rewrite(path: Path, change: Callable[[Any], None]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("layout", RECIPES)
def test_what_was_prepared_is_whole(layout: str, made: Path) -> None:
    verified = verify(str(made / layout), 0)
    assert said(verified) == []
    assert verified.whole
    assert verified.finished
    assert verified.samples == look(made / layout).samples
    assert verified.bytes == sum(path.stat().st_size for path in (made / layout).glob("*.tar"))


def test_processes_find_the_same_as_one(shards: Path) -> None:
    flip(shards / "shard-000001.tar", 700)
    assert said(verify(str(shards), 2)) == said(verify(str(shards), 0)) != []


@pytest.mark.parametrize("layout", RECIPES)
def test_a_wrong_byte_anywhere_in_a_sample_names_shard_and_key(layout: str, made: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(made / layout, tmp_path / layout))
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


def a_wrong_offset(folder: Path) -> None:
    rewrite(folder / "shard-000000.json", lambda index: index["samples"][1].update(offset=512))


def a_wrong_key(folder: Path) -> None:
    rewrite(folder / "shard-000000.json", lambda index: index["samples"][0].update(key="video9_0000"))


def a_key_twice(folder: Path) -> None:
    rewrite(folder / "shard-000000.json", lambda index: index["samples"][1].update(key="video0_0000"))


def a_sample_too_many(folder: Path) -> None:
    rewrite(folder / "shard-000000.json", lambda index: index["samples"].append(index["samples"][-1]))


def a_text_as_json(folder: Path) -> None:
    (folder / "shard-000001.json").write_text("nothing")


def no_json(folder: Path) -> None:
    (folder / "shard-000001.json").unlink()


def no_tar(folder: Path) -> None:
    (folder / "shard-000001.tar").unlink()


def no_shard(folder: Path) -> None:
    no_json(folder)
    no_tar(folder)


def no_ledger(folder: Path) -> None:
    (folder / "ledger.jsonl").unlink()


def no_plan(folder: Path) -> None:
    (folder / "plan.json").unlink()


def a_shard_too_many(folder: Path) -> None:
    for kind in ("tar", "json"):
        shutil.copy(folder / f"shard-000000.{kind}", folder / f"shard-000007.{kind}")


def a_tar_too_many(folder: Path) -> None:
    shutil.copy(folder / "shard-000000.tar", folder / "shard-000007.tar")


def a_replacement_left_behind(folder: Path) -> None:
    (folder / "shard-000000.tar.new").write_bytes(b"x")


def a_part_left_behind(folder: Path) -> None:
    (folder / ".shard-000000.tar.abc.part").write_bytes(b"x")


def other_totals(folder: Path) -> None:
    rewrite(folder / "dataset.json", lambda totals: totals["shards"][1].update(samples=1))


def another_hash_in_the_totals(folder: Path) -> None:
    rewrite(folder / "dataset.json", lambda totals: totals["shards"][1].update(sha256="0" * 64))


def another_plan(folder: Path) -> None:
    rewrite(folder / "dataset.json", lambda totals: totals.update(plan_hash="0"))


def other_reasons(folder: Path) -> None:
    rewrite(folder / "dataset.json", lambda totals: totals.update(reasons={"damaged": 1}))


def another_recipe(folder: Path) -> None:
    rewrite(folder / "plan.json", lambda plan: plan["settings"].update(jpeg_quality=91))


def totals_of_nothing(folder: Path) -> None:
    (folder / "dataset.json").write_text("{}")


def a_ledger_that_tells_otherwise(folder: Path) -> None:
    lines = (folder / "ledger.jsonl").read_text().splitlines(keepends=True)
    lines[3] = lines[3].replace('"ok"', '"failed"')
    (folder / "ledger.jsonl").write_text("".join(lines))


def a_ledger_that_ends_early(folder: Path) -> None:
    lines = (folder / "ledger.jsonl").read_text().splitlines(keepends=True)
    (folder / "ledger.jsonl").write_text("".join(lines[:4]))


def a_ledger_that_goes_on(folder: Path) -> None:
    with (folder / "ledger.jsonl").open("a") as file:
        file.write("{}\n")


def other_rows_in_the_plan(folder: Path) -> None:
    (part,) = (folder / "plan").iterdir()
    part.write_text(part.read_text().replace("video2", "video9"))


DAMAGES: dict[Callable[[Path], None], str] = {
    a_wrong_offset: "shard-000000.json: sample video0_0001: expected it at byte",
    a_wrong_key: "shard-000000.json: sample video9_0000: expected a sample of the video 'video0' here",
    a_key_twice: "shard-000000.json: sample video0_0000: it is there twice",
    a_sample_too_many: "shard-000000.json: expected 6 samples as its videos gave, found 7",
    a_text_as_json: "shard-000001.json: expected the JSON of a shard",
    no_json: "shard-000001.tar: it has no JSON beside it",
    no_tar: "shard-000001.tar: it is missing, but its JSON is there",
    no_shard: "shard-000001.tar: it is missing, and so is its JSON",
    no_ledger: "ledger.jsonl: it is missing",
    no_plan: "plan.json: it is missing",
    a_shard_too_many: "shard-000007.tar: expected 3 shards, found one more",
    a_tar_too_many: "shard-000007.tar: it has no JSON beside it",
    a_replacement_left_behind: "shard-000000.tar.new: left by a replacement that was killed",
    a_part_left_behind: ".shard-000000.tar.abc.part: part of a file",
    other_totals: "dataset.json: shard-000001.tar: expected 6 samples, found 1",
    another_hash_in_the_totals: "dataset.json: shard-000001.tar: expected the SHA-256 of the shard's JSON",
    another_plan: "dataset.json: expected the hash of plan.json",
    other_reasons: "dataset.json: expected 1 failed videos as the shards have",
    another_recipe: "plan.json: expected the hashes of its own settings and rows",
    totals_of_nothing: "dataset.json: expected the totals of a shard set",
    a_ledger_that_tells_otherwise: "ledger.jsonl: line 4 is not what shard-000001.json says of 'video3'",
    a_ledger_that_ends_early: "ledger.jsonl: expected line 5 to tell of 'gone'",
    a_ledger_that_goes_on: "ledger.jsonl: expected 5 videos, found more lines",
    other_rows_in_the_plan: "plan.json: ",
}


@pytest.mark.parametrize("damaging", DAMAGES, ids=lambda damaging: damaging.__name__)
def test_damage_is_named(damaging: Callable[[Path], None], shards: Path) -> None:
    damaging(shards)
    sentences = said(verify(str(shards), 0))
    assert any(sentence.startswith(DAMAGES[damaging]) for sentence in sentences), sentences


def test_many_problems_of_a_shard_are_counted_and_the_first_are_told(made: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(made / "segments", tmp_path / "segments"))
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


# the command


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


def test_a_shard_set_on_s3_is_looked_at_and_checked_where_it_lies(made: Path, s3_bucket: str, tmp_path: Path) -> None:
    for path in (made / "clip").rglob("*"):
        if path.is_file():
            storage.upload(path, f"{s3_bucket}/clip/{path.relative_to(made / 'clip')}")
    local, there = look(made / "clip"), look(f"{s3_bucket}/clip")
    assert (there.samples, there.labels, there.bytes) == (local.samples, local.labels, local.bytes)
    assert verify(f"{s3_bucket}/clip", 1).whole
    assert run(f"{s3_bucket}/clip", "--html", str(tmp_path / "page.html"), "--cards", "1") == 0
    assert len(Page((tmp_path / "page.html").read_text()).media["video"]) == 1
    storage.remove(f"{s3_bucket}/clip/shard-000000.tar")
    assert said(verify(f"{s3_bucket}/clip", 0)) == ["shard-000000.tar: it is missing, but its JSON is there"]
