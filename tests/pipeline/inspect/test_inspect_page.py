"""The page of `gavt inspect` needs nothing beside it."""

import io
import os
import re
import shutil
import subprocess
from pathlib import Path

import av
import numpy as np
import pytest
from html_page import Page
from inspected import RECIPES, damage, look, places_of
from PIL import Image

from pipeline.inspect.contact_sheet import write_sheet
from pipeline.inspect.contents import read_contents
from pipeline.inspect.skeletons import draw_persons
from pipeline.inspect.spectrogram import HEIGHT, WIDTH, draw_spectrogram
from pipeline.inspect.summary import summarise
from pipeline.samples.skeleton import POINTS
from tiny_shards import keypoints_of, write_shard_set

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def page_of(folder: Path, target: Path, cards: int = 6) -> Page:
    contents = read_contents(str(folder))
    write_sheet(contents, summarise(contents, 500, 0), str(target), cards, 0)
    html = target.read_text()
    assert "@import" not in html
    assert not re.findall(r"url\((?!#|data:)", html)
    return Page(html)


@pytest.mark.parametrize("layout", RECIPES)
def test_the_page_needs_nothing_beside_it(layout: str, prepared: Path, tmp_path: Path) -> None:
    page = page_of(prepared / layout, tmp_path / "page.html", 4)
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
def test_a_real_browser_shows_the_page(prepared: Path, tmp_path: Path) -> None:
    page_of(prepared / "clip", tmp_path / "page.html")
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


def test_keypoints_are_drawn_where_they_are_in_the_colour_of_their_place(tmp_path: Path) -> None:
    def person(x: float, confidence: float) -> list[tuple[float, float, float]]:
        """A vertical line from head to pelvis, and no other point."""
        points = [(0.0, 0.0, 0.0)] * POINTS
        for point, y in ((17, 0.2), (18, 0.5), (19, 0.8)):
            points[point] = (x, y, confidence)
        return points

    grey = np.full((96, 160, 3), 60, np.uint8)
    drawn = draw_persons(grey, keypoints_of([[person(0.25, 1.0), None, person(0.75, 0.5)]])[0])
    changed = (drawn != grey).any(2)
    columns = np.flatnonzero(changed.any(0))
    assert set(columns.tolist()) <= {*range(37, 44), *range(117, 124)}
    rows = np.flatnonzero(changed.any(1))
    assert (rows.min(), rows.max()) == (pytest.approx(19, abs=2), pytest.approx(77, abs=2))
    strong, faint = (drawn[36, x - 1 : x + 1].astype(int).mean(0) for x in (40, 120))
    assert strong[0] > strong[2] + 100  # yellow
    assert faint[0] > faint[1] + 20  # pink
    assert np.ptp(faint) < np.ptp(strong)
    assert not (draw_persons(grey, keypoints_of([[None]])[0]) != grey).any()


def test_the_page_shows_how_many_persons_are_in_a_frame(tmp_path: Path) -> None:
    seen = [(0.5, 0.5, 1.0)] * POINTS
    folder = write_shard_set(tmp_path / "shards", 4, known={"keypoints": [[seen, None]]})
    page = page_of(folder, tmp_path / "page.html", 4)
    assert "frame at 0.200 s · 1 person · sound" in page.text
    broken = write_shard_set(tmp_path / "broken", 4, known={"keypoints": [[seen], [seen]]})
    assert (
        ".keypoints.npy: expected those of 1 frames, found those of 2"
        in page_of(broken, tmp_path / "page.html", 4).text
    )
