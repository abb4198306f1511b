"""The report's gallery that plays: a click on a place of a frame starts the sound that the model keeps there."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from browser import BROWSER, Browser
from pipeline.evaluate.playable import SOUNDS, View, as_file, playable_of
from pipeline.evaluate.report.players import make_players
from pipeline.evaluate.report.report import write_report
from pipeline.features.settings import FeatureSettings

FEATURES = FeatureSettings(frame_size=32, audio_samples=16383, frequency_bins=64)
PLAYING = "[...document.querySelectorAll('audio')].filter(a => !a.paused && a.currentTime > 0).map(a => a.id).join()"


def tone(hertz: float) -> torch.Tensor:
    times = torch.arange(FEATURES.audio_samples) / FEATURES.audio_rate_hz
    return 0.2 * torch.sin(2 * torch.pi * hertz * times)


def low_left_high_right(cells: int = 8) -> torch.Tensor:
    """Masks of places of which those on the left keep what is low, those on the right what is high."""
    masks = torch.zeros(cells, cells, 64, FEATURES.time_frames)
    masks[:, : cells // 2, :32] = 1
    masks[:, cells // 2 :, 32:] = 1
    return masks


def sample(index: int = 0, cells: int = 8) -> Any:
    low, high = tone(300), tone(2500)
    frame = np.full((32, 32, 3), 90, np.uint8)
    views = [View(f"frame of {name}", frame, low_left_high_right(cells)) for name in ("low", "high")]
    return playable_of(index, low + high, views, [("low", low), ("high", high)], FEATURES)


def heard(sound: str) -> np.ndarray:
    """Share of the energy of an MP3 in base64 that lies above 1 kHz."""
    with av.open(io.BytesIO(base64.b64decode(sound))) as container:
        waveform = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
        rate = container.streams.audio[0].codec_context.sample_rate
    power = np.abs(np.fft.rfft(waveform)) ** 2
    return power[np.fft.rfftfreq(len(waveform), 1 / rate) > 1000].sum() / power.sum()


def test_places_that_keep_the_same_share_a_sound_and_each_has_its_own() -> None:
    (entry,) = json.loads(as_file([sample()], 1))["samples"]
    for view in entry["views"]:
        assert (view["rows"], view["columns"], len(view["sounds"])) == (8, 8, 2)
        left, right = view["sound_of"][0], view["sound_of"][7]
        assert view["sound_of"] == [left] * 4 + [right] * 4 + view["sound_of"][8:]
        assert view["sound_of"] == view["sound_of"][:8] * 8
        assert heard(view["sounds"][left]) < 0.01
        assert heard(view["sounds"][right]) > 0.99
        assert view["kept"][:8:7] == pytest.approx([0.5, 0.5], abs=0.02)
    assert 0.3 < heard(entry["mixture"]) < 0.7
    assert [round(float(heard(one["sound"]))) for one in entry["sounds"]] == [0, 1]


def test_places_that_all_keep_something_else_are_at_most_twelve_sounds() -> None:
    masks = torch.rand(16, 16, 64, FEATURES.time_frames, generator=torch.Generator().manual_seed(0))
    whole = tone(300) + tone(800) + tone(2500)
    masks[0, 0] = torch.nan
    one = playable_of(0, whole, [View("a", np.zeros((32, 32, 3), np.uint8), masks)], [], FEATURES)
    (view,) = json.loads(one.written)["views"]
    assert (view["rows"], view["columns"], len(view["sound_of"])) == (8, 8, 64)
    assert len(view["sounds"]) <= 12
    assert set(view["sound_of"]) == set(range(len(view["sounds"])))
    assert len(one.written) < 300_000


def test_silence_is_no_reason_against_a_gallery() -> None:
    silent = torch.zeros(FEATURES.audio_samples)
    views = [View("a", np.zeros((32, 32, 3), np.uint8), low_left_high_right())]
    (entry,) = json.loads(as_file([playable_of(0, silent, views, [("a", silent)], FEATURES)], 1))["samples"]
    assert entry["views"][0]["kept"] == [0.0] * 64
    assert len(make_players({"samples": [entry]}).sounds) == 3


def test_the_first_samples_of_the_set_are_shown() -> None:
    found = [sample(index) for index in (5, 1, 3)]
    file = as_file(found, 2)
    assert json.loads(file)["samples"] == [json.loads(found[1].written), json.loads(found[2].written)]


@pytest.fixture
def page(run: str) -> str:
    Path(run, SOUNDS).write_bytes(as_file([sample(0), sample(1)], 2))
    return write_report(run)


def test_the_page_has_all_sounds_inside(page: str) -> None:
    html = Path(page).read_text()
    assert html.count("<audio ") == 2 * (3 + 2 * 2)
    assert html.count('src="data:audio/mpeg;base64,') == html.count("<audio ")
    assert len(html) < 1_500_000


def test_titles_from_outside_are_shown_as_text(run: str) -> None:
    silent = torch.zeros(FEATURES.audio_samples)
    one = playable_of(0, silent, [], [("<img>", silent)], FEATURES)
    Path(run, SOUNDS).write_bytes(as_file([one], 1))
    assert "&lt;img&gt;" in Path(write_report(run)).read_text()


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed to click with")
def test_a_click_a_tap_or_a_key_on_a_place_plays_its_sound(page: str, tmp_path: Path) -> None:
    grid = "#listen .player:nth-child(2) figure:nth-child(1) .grid button"
    with Browser(page, tmp_path) as browser:

        def sound_of(number: int) -> str:
            return browser.evaluate(f"document.querySelectorAll({json.dumps(grid)})[{number}].dataset.sound")

        left, right = sound_of(17), sound_of(30)
        assert left != right
        browser.click(grid, 17)
        assert browser.wait_for(PLAYING) == left
        source = browser.evaluate(f"document.getElementById({json.dumps(left)}).currentSrc")
        assert heard(source.partition("base64,")[2]) < 0.01  # it really is what is low
        said = "document.querySelectorAll('.player .playing')[1].textContent"
        assert "row 3 of 8, column 2 of 8" in browser.evaluate(said)
        browser.tap(grid, 30)
        assert browser.wait_for(f"{PLAYING} === {json.dumps(right)}")  # and the first one no more
        browser.press("ArrowRight")
        browser.press("ArrowUp")
        focused = f"[...document.querySelectorAll({json.dumps(grid)})].indexOf(document.activeElement)"
        assert browser.evaluate(focused) == 30 - 8 + 1
        browser.press("Enter")
        assert browser.wait_for(f"{PLAYING} === {json.dumps(sound_of(23))}")
        browser.press("Enter")  # again: it stops
        assert browser.evaluate(PLAYING) == ""
        assert browser.evaluate(said) == "nothing is playing"
        browser.click("#listen .player:nth-child(2) .whole button", 0)
        assert browser.wait_for(PLAYING) == "sound-2-mixture"
        browser.wait_for(f"{said} === 'nothing is playing'")  # at its end


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed to look at the page with")
def test_on_a_narrow_screen_nothing_is_wider_than_it(page: str, tmp_path: Path) -> None:
    with Browser(page, tmp_path, width=420) as browser:
        wide, screen = browser.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert wide <= screen
