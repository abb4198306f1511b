"""The gallery of a report: samples of one run or of several, to be filtered, ordered and listened to."""

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from made_evaluation import LOCALISATION, write_evaluation
from PIL import Image

from browser import BROWSER, Browser
from pipeline.errors import RunError
from pipeline.evaluate.evaluate import evaluate
from pipeline.evaluate.examples import EXAMPLES
from pipeline.evaluate.playable import encode_mp3
from pipeline.evaluate.report import gallery as galleries
from pipeline.evaluate.report.gallery import make_gallery
from pipeline.evaluate.report.report import write_report
from pipeline.evaluate.report.report_of_runs import write_report_of_runs
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.samples.skeleton import POINTS
from tiny_run import tiny_experiment, write_run

HITS = {"violin": 1, "drum, bass": 0, "<flute>": 0, "piano": -1}
SHOWN = (
    "[...document.querySelectorAll('.card')].filter(c => c.checkVisibility())"
    ".map(c => c.querySelector('.key').textContent)"
)


def examples(hits: dict[str, int] = HITS, first: int = 0) -> dict[str, Any]:
    """A sample of each class, with these hits; keys count on from `first`."""
    count, generator = len(hits), np.random.default_rng(first)
    tones = [np.sin(2 * np.pi * 300 * (one + 1) * np.arange(8000) / 8000).astype(np.float32) for one in range(4)]
    sounds = ([encode_mp3(0.3 * tone, 8000) for tone in tones] * count)[:count]
    known = np.array(list(hits.values())) >= 0
    return {
        "frames": generator.integers(0, 255, (count, 16, 16, 3), np.uint8),
        "maps": generator.random((count, 4, 4), np.float32),
        "rows": np.tile((np.arange(4) + 0.5) / 4, (count, 1)),
        "columns": np.tile((np.arange(4) + 0.5) / 4, (count, 1)),
        "truths": np.tile(known[:, None, None], (1, 32, 32)),
        "hits": np.array(list(hits.values()), np.int8),
        "ciou": np.where(known, 0.25, np.nan).astype(np.float32),
        "ciou_adap": np.where(known, np.linspace(0.5, 0.1, count), np.nan).astype(np.float32),
        "keys": np.array([f"sample-{first + one}" for one in range(count)]),
        "labels": np.array([f"{name}\nvoice" if name == "piano" else name for name in hits]),
        "silent": np.array(["harp" if name == "piano" else "" for name in hits]),
        "sounds": np.frombuffer(b"".join(sounds), np.uint8),
        "sound_ends": np.cumsum([len(one) for one in sounds]),
        "readout": np.array("similarity"),
        "token_maps": np.zeros((count, 0, 1, 1), np.float32),
        "token_names": np.zeros((count, 0), np.str_),
        "keypoints": np.zeros((count, 0, POINTS, 3), np.float32),
        "masks": np.zeros((count, 3, 0, 1), np.uint8),
    }


def write_examples(run: str, arrays: dict[str, Any]) -> None:
    write_evaluation(run, [LOCALISATION])
    np.savez(Path(run, EXAMPLES), **arrays)


def test_a_card_has_its_classes_its_figures_and_its_sound() -> None:
    gallery = make_gallery([("run", examples())])
    assert [card.verdict for card in gallery.cards] == ["right", "wrong", "wrong", "unknown"]
    assert [card.labels for card in gallery.cards][1::2] == [["drum, bass"], ["piano", "voice"]]
    assert gallery.classes[:2] == [("<flute>", 1, 1), ("drum, bass", 1, 1)]  # the wrong ones first
    assert gallery.cards[0].maps[0].ciou_adap == pytest.approx(0.5)
    assert gallery.cards[3].maps[0].ciou_adap is None
    assert gallery.cards[3].truth is None
    for number, card in enumerate(gallery.cards):
        assert card.sound is not None
        with av.open(io.BytesIO(gallery.files[card.sound])) as container:
            sound = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
        loudest = np.abs(np.fft.rfft(sound)).argmax() * 8000 / len(sound)
        assert loudest == pytest.approx(300 * (number + 1), abs=10)


def test_a_card_shows_tokens_keypoints_and_masks_where_the_model_has_them() -> None:
    arrays = examples()
    assert [card.views for card in make_gallery([("run", arrays)]).cards] == [[]] * 4
    heat = np.zeros((4, 1, 4, 4), np.float32)
    heat[..., 3, 0] = 1  # below on the left
    arrays |= {
        "token_maps": heat,
        "token_names": np.full((4, 1), "harp"),
        "frames": np.full((4, 16, 16, 3), 60, np.uint8),
    }
    arrays["keypoints"] = np.full((4, 1, POINTS, 3), (0.75, 0.25, 1.0), np.float32)
    arrays["masks"] = np.zeros((4, 3, 8, 8), np.uint8)
    arrays["masks"][:, 1, 0] = 255  # the lowest frequency
    gallery = make_gallery([("run", arrays)])
    (token, first), (points, second), (mixed, _), (mask, third), (ideal, _) = gallery.cards[0].views
    assert (token, points, mask, ideal) == ("token 1: harp", "keypoints", "mask of its own", "ideal mask")
    assert mixed == "mixture"
    pixels = [np.array(Image.open(io.BytesIO(gallery.files[name])), int).sum(2) for name in (first, second, third)]
    changed = [np.abs(one - one[100, 100]) > 60 for one in pixels]
    assert [one[150:, :50].mean().round() for one in changed[:2]] == [1, 0]
    assert changed[1][48:53, 148:153].any()
    assert not changed[1][60:].any()
    assert changed[2][190:].all()
    assert not changed[2][:150].any()


def test_of_several_runs_the_maps_of_a_sample_stand_side_by_side() -> None:
    other = examples({"violin": 0, "drum, bass": 0, "<flute>": 1, "piano": -1})
    gallery = make_gallery([("a", examples()), ("b", other), ("c", examples(first=2))])
    assert [card.key for card in gallery.cards] == [f"sample-{number}" for number in range(6)]
    assert [[one.run for one in card.maps] for card in gallery.cards] == [["a", "b"]] * 2 + [["a", "b", "c"]] * 2 + [
        ["c"]
    ] * 2
    assert [card.wrong for card in gallery.cards] == [["b"], ["a", "b"], ["a"], ["c"], ["c"], []]
    assert [card.differs for card in gallery.cards] == [True, False, True, False, False, False]


def test_what_is_large_lies_beside_the_page_and_all_else_is_inside(
    run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_examples(run, examples())
    page = write_report(run, str(tmp_path / "small.html"))
    assert "_files/" not in Path(page).read_text()
    monkeypatch.setattr(galleries, "MOST_INSIDE", 10_000)
    page = write_report(run, str(tmp_path / "large.html"))
    text = Path(page).read_text()
    named = set(re.findall(r'"(large_files/[^"]+)"', text))
    assert named == {f"large_files/{file.name}" for file in (tmp_path / "large_files").iterdir()}
    assert len(named) == 4 * 3 + 3  # of one nobody knows the truth
    assert "data:" not in text
    assert "this file needs the folder large_files beside it" in text


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda arrays: arrays.pop("sounds"), f"{EXAMPLES}: has no sounds; gavt evaluate writes it anew"),
        (lambda arrays: arrays.update(keys=np.array([{}])), f"{EXAMPLES}: damaged .*; gavt evaluate writes it anew"),
    ],
)
def test_examples_that_lack_something_are_named(spoil: Any, sentence: str, run: str) -> None:
    arrays = examples()
    spoil(arrays)
    write_examples(run, arrays)
    with pytest.raises(RunError, match=sentence):
        write_report(run)


def test_runs_that_were_evaluated_are_laid_side_by_side(tmp_path: Path, located_shards: str) -> None:
    runs = [write_run(tmp_path / f"seed{seed}", tiny_experiment(located_shards, None), seed=seed) for seed in (1, 2)]
    for one in runs:
        evaluate(one, located_shards, None, one, EvaluateSettings(readouts=("class_token",), examples=3))
    text = Path(write_report_of_runs(runs, str(tmp_path / "page.html"))).read_text()
    assert text.count('<div class="card"') == 3
    assert text.count("<figcaption>seed1</figcaption>") == text.count("<figcaption>seed2</figcaption>") == 3


def test_maps_of_an_older_evaluation_are_not_shown_beside_other_figures(run: str) -> None:
    write_examples(run, examples())
    assert 'id="gallery"' in Path(write_report(run)).read_text()
    write_evaluation(run, [replace(LOCALISATION, measure="retrieval")])
    assert 'id="gallery"' not in Path(write_report(run)).read_text()


@pytest.fixture
def page(run: str) -> str:
    write_examples(run, examples())
    return write_report(run)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed to look at the page with")
def test_wrong_ones_come_first_and_filters_hold_in_a_real_browser(page: str, tmp_path: Path) -> None:
    with Browser(page, tmp_path) as browser:

        def choose(name: str, value: str) -> list[str]:
            field = f"document.querySelector('#gallery form').elements['{name}']"
            browser.evaluate(f"{field}.value = {value!r}; {field}.dispatchEvent(new Event('input', {{bubbles: true}}))")
            shown: list[str] = browser.evaluate(SHOWN)
            return shown

        assert browser.evaluate(SHOWN) == ["sample-1", "sample-2", "sample-0", "sample-3"]
        assert choose("order", "set") == ["sample-0", "sample-1", "sample-2", "sample-3"]
        assert choose("order", "worst") == ["sample-2", "sample-1", "sample-0", "sample-3"]
        assert choose("show", "wrong") == ["sample-2", "sample-1"]
        assert choose("class", "drum, bass") == ["sample-1"]
        assert browser.evaluate("location.hash") == "#show=wrong&class=drum%2C+bass&order=worst"
        assert browser.evaluate("document.querySelector('#gallery output').textContent") == "1 of 4"
        assert choose("show", "") == choose("class", "drum, bass") == ["sample-1"]
        assert choose("class", "") == ["sample-2", "sample-1", "sample-0", "sample-3"]
        assert choose("text", "HARP") == ["sample-3"]
        assert choose("text", "nothing of this") == []
        browser.evaluate("location.hash = '#show=wrong&class=%3Cflute%3E'")  # as a link has it
        assert browser.wait_for(f"{SHOWN}.join() === 'sample-2'")
        browser.click(".card:not([hidden]) button.play")
        playing = (
            "(() => { const a = document.getElementById('sound-of-sample'); return !a.paused && a.currentTime > 0; })()"
        )
        assert browser.wait_for(playing)
        browser.click(".card:not([hidden]) button.play")  # again: it stops
        assert not browser.evaluate(playing)
        assert browser.evaluate("document.querySelector('button.play[aria-pressed=true]')") is None


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed to look at the page with")
def test_pictures_out_of_sight_are_not_fetched(run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_examples(run, examples({f"class {number}": number % 2 for number in range(120)}))
    monkeypatch.setattr(galleries, "MOST_INSIDE", 0)
    with Browser(write_report(run), tmp_path, height=700) as browser:
        fetched = "[...document.images].filter(i => i.complete && i.naturalWidth > 0).length"
        assert browser.wait_for(f"{fetched} > 3 * 3")
        assert browser.evaluate(fetched) < 3 * 120 / 2
