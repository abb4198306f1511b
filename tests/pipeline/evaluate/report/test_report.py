"""The report: a page that needs nothing beside it and says what is missing."""

import json
import os
import re
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from made_evaluation import write_evaluation
from PIL import Image

from browser import BROWSER
from cluster.errors import UserError
from made_up_task import MadeUpSettings
from pipeline.errors import RunError
from pipeline.evaluate.evaluate import evaluate
from pipeline.evaluate.measures.contract import Column, Headline, Row, Table
from pipeline.evaluate.report.curves import draw_curve, draw_curves
from pipeline.evaluate.report.facts import duration, facts_of_run
from pipeline.evaluate.report.report import write_report
from pipeline.evaluate.report.report_of_runs import write_report_of_runs
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.tasks.contract import Metric
from tiny_run import tiny_experiment, write_run


class Page(HTMLParser):
    """What of a page leads outside, and the text of it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.outside: list[str] = []
        self.sections: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in {"src", "href", "xlink:href", "srcset", "action", "poster", "data"}:
                inside = value is None or value.startswith(("data:", "#"))
                self.outside += [] if inside else [f"{tag} {name}={value}"]
            if tag == "section" and name == "id" and value:
                self.sections.append(value)

    def handle_data(self, data: str) -> None:
        self.text += data


def write_records(run: str) -> None:
    lines = []
    for step in range(10, 310, 10):
        accuracy = 0.5 + step / 700
        record = {"step": step, "loss": 1 - accuracy, "accuracy": accuracy, "samples": step * 8, "epoch": step / 50}
        record |= {"samples_per_s": 100.0, "mfu": 0.431, "goodput": 0.914, "memory_gib": 3.25}
        if step % 100 == 0:
            record |= {"validation/loss": 0.5, "validation/accuracy": accuracy - 0.02}
        lines.append(json.dumps(record))
    Path(run, "metrics.jsonl").write_text("\n".join(lines) + '\n{"step": 31')  # the last line is torn
    times = [(0, "start"), (100, "checkpoint"), (500, "resume"), (560, "end")]
    events = [json.dumps({"time": time, "event": event}) for time, event in times]
    Path(run, "events.jsonl").write_text("\n".join(events))


@pytest.fixture
def whole_run(run: str, located_shards: str, validation_shards: str) -> str:
    write_records(run)
    evaluate(run, located_shards, validation_shards, run, EvaluateSettings(readouts=("attention", "class_token")))
    return run


def test_the_page_of_a_whole_run_has_everything_and_needs_nothing(whole_run: str) -> None:
    html = Path(write_report(whole_run)).read_text()
    page = Page(html)
    assert page.outside == []
    assert "@import" not in html
    assert not re.findall(r"url\((?!#|data:)", html)
    assert page.sections == ["curves", "evaluation", "gallery", "facts", "settings"]
    for text in (
        "alignment accuracy",
        "shuffled audio",
        "oracle ceiling",
        "image saliency",
        "300",
        "2 min 40 s",
        "43.1 %",
        "91.4 %",
        "passes a map",
        "1 forward",
    ):
        assert text in page.text, text
    assert html.count("<svg") == 2
    assert html.count("data:image/jpeg") == 12 * 3
    assert "features.frame_size" in page.text


def test_a_run_without_evaluation_says_so(run: str) -> None:
    write_records(run)
    page = Page(Path(write_report(run)).read_text())
    assert page.sections == ["missing", "curves", "facts", "settings"]
    assert "gavt evaluate writes it" in page.text


def test_a_run_that_has_just_begun_still_gives_a_page(run: str) -> None:
    page = Page(Path(write_report(run)).read_text())
    assert page.sections == ["missing", "facts", "settings"]
    assert "there are no curves" in page.text


def test_data_without_boxes_gives_a_page_without_a_table(run: str, unlabelled_shards: str) -> None:
    evaluate(run, unlabelled_shards, None, run, EvaluateSettings())
    page = Page(Path(write_report(run)).read_text())
    assert "has no boxes" in page.text
    assert "nobody knows" in page.text
    assert "oracle ceiling" not in page.text
    assert "called a match" in page.text  # alignment has one


SEPARATION = Table(
    "separation",
    "separation of two sounds",
    (Column("sdr", "SDR", "dB"), Column("loss", "loss", "number", higher_is_better=False)),
    (
        Row("model", "model", {"sdr": 7.26, "loss": 0.5}, {"sdr": 0.31}),
        Row("mixture", "control", {"sdr": 0.04, "loss": None}),
        Row("Sound-of-Pixels", "other", {"sdr": 9.12}, made_by="Zhao et al. 2018"),
    ),
    4,
    headlines=(Headline("SDR", 7.26, "dB", (("mixture", 0.04),)),),
)
RETRIEVAL = Table(
    "retrieval",
    "sounds retrieved by frames",
    (Column("first", "R@1"), Column("median", "median rank", "number", higher_is_better=False)),
    (
        Row("model", "model", {"first": 0.613, "median": 1.0}),
        Row("guessing", "control", {"first": 0.01, "median": 50.5}),
        Row("AVSA", "other", {"first": 0.555}, made_by="as published"),
    ),
    4,
    notes=("one candidate a video",),
    warnings=("two samples share a sound",),
)


@pytest.mark.parametrize("tables", [[RETRIEVAL], [SEPARATION, RETRIEVAL, replace(RETRIEVAL, title="frames by sounds")]])
def test_any_set_of_measures_is_drawn_with_what_others_published(run: str, tables: list[Table]) -> None:
    write_evaluation(run, tables, left_out=["localisation is left out: the model sees no frames"])
    text = Path(write_report(run)).read_text()
    page = Page(text)
    assert page.sections == ["missing", "evaluation", "facts", "settings"]
    assert "localisation is left out: the model sees no frames." in page.text
    for table in tables:
        for words in (table.title, *table.notes, *table.warnings, *(row.name for row in table.rows)):
            assert words in page.text, words
    assert page.text.count("as published") == 2 * len([one for one in tables if one.measure == "retrieval"]) + (
        len(tables) > 1
    )
    assert text.count('<tr class="other">') == len(tables)
    parts = re.findall(r'href="#([\w-]+)"', text)
    assert parts == [*(f"table-{number}" for number in range(1, len(tables) + 1)), "facts", "settings"]
    assert all(f'id="{part}"' in text for part in parts)
    shown = re.sub(r"\s+", " ", page.text)
    assert "AVSAas published 55.5 –" in shown
    assert ("Sound-of-PixelsZhao et al. 2018 9.1 –" in shown) == (len(tables) > 1)


def test_several_runs_of_any_measures_stand_side_by_side(run: str, tmp_path: Path, located_shards: str) -> None:
    other = write_run(tmp_path / "other", tiny_experiment(located_shards, None), seed=2)
    write_evaluation(run, [SEPARATION, RETRIEVAL])
    rows = (replace(RETRIEVAL.rows[0], values={"first": 0.813, "median": 3.0}), *RETRIEVAL.rows[1:])
    write_evaluation(other, [replace(RETRIEVAL, rows=rows)])
    page = Page(Path(write_report_of_runs([run, other], str(tmp_path / "page.html"))).read_text())
    assert page.sections == ["missing", "evaluation", "facts"]
    shown = re.sub(r"\s+", " ", page.text)
    assert "model 71.3 ± 127.161.381.3" in shown
    assert "AVSAas published 55.5 –" in shown  # without a spread, for it is none of the runs'
    assert "separation of two sounds" not in shown  # which one of them has


def test_names_from_outside_are_shown_as_text(whole_run: str) -> None:
    with np.load(Path(whole_run, "evaluation_maps.npz")) as examples:
        arrays = dict(examples)
    arrays["labels"][0] = "<img>"
    np.savez(Path(whole_run, "evaluation_maps.npz"), **arrays)
    assert "&lt;img&gt;" in Path(write_report(whole_run)).read_text()


def test_the_page_goes_where_it_is_wanted(run: str, tmp_path: Path) -> None:
    target = tmp_path / "pages" / "page.html"
    assert write_report(run, str(target)) == str(target)
    assert target.exists()


def test_a_folder_without_a_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="expected a run folder"):
        write_report(str(tmp_path))


def test_curves_are_left_out_where_nothing_was_measured() -> None:
    loss, accuracy = Metric("loss", "loss"), Metric("accuracy")
    assert draw_curve([], loss) is None
    assert draw_curve([{"step": 1, "validation/loss": 0.5}], accuracy) is None
    only_validation = draw_curve([{"step": 1, "validation/loss": 0.5}], loss)
    assert only_validation is not None
    assert only_validation.startswith("<svg")


def test_each_metric_that_a_task_shows_has_a_curve_with_chance_and_ceiling() -> None:
    values = {"nce": 1.0, "recall_at_5": 0.2, "temperature": 0.07, "reachable": 0.9, "empty_anchors": 1.0}
    records = [{"step": step, **values, "validation/reachable": 0.8, "data_wait": 0.1} for step in (1, 2)]
    metrics = MadeUpSettings().metrics
    drawn = draw_curves(records, metrics)
    assert [caption for caption, _ in drawn] == ["Nce", "Recall at 5", "Temperature"]
    of_two = [caption for caption, _ in draw_curves([{"step": 1, "pull/nce": 1.0}], [metrics[0].of_task("pull")])]
    assert of_two == ["Pull: nce"]
    plain = draw_curve(records, replace(metrics[1], chance=None, ceiling=None))
    lines = [svg.count("stroke-dasharray") for svg in (drawn[0][1], drawn[1][1], plain or "")]
    assert lines == [0, 4, 0]  # two lines, each in the legend too


def test_a_run_whose_settings_are_gone_has_its_curves_all_the_same(run: str) -> None:
    write_records(run)
    Path(run, "config.yaml").unlink()
    html = Path(write_report(run)).read_text()
    assert html.count("<svg") == 2
    assert "Accuracy" in Page(html).text


def test_pauses_between_a_stop_and_a_resume_are_no_training_time() -> None:
    events = [
        {"time": t, "event": e} for t, e in ((0.0, "start"), (100.0, "checkpoint"), (900.0, "resume"), (930.0, "end"))
    ]
    facts = {fact.name: fact.value for fact in facts_of_run([], events, None, None)}
    assert facts["time in training"] == "2 min 10 s"
    assert facts["went on after a stop"] == "1 ×"
    assert duration(7260) == "2 h 1 min"
    assert duration(5) == "5 s"


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed to look at the page with")
@pytest.mark.parametrize("width", [1200, 420])
def test_a_real_browser_shows_the_page(whole_run: str, tmp_path: Path, width: int) -> None:
    page = write_report(whole_run)
    picture = tmp_path / "page.png"
    assert BROWSER is not None
    command = [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},2400", f"--screenshot={picture}"]
    done = subprocess.run(
        [*command, Path(page).resolve().as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    assert picture.exists(), done.stderr
    with Image.open(picture) as image:
        pixels = np.array(image.convert("RGB")).reshape(2400, -1, 3)
    assert pixels.std() > 15  # not blank
    colours = np.unique(pixels.reshape(-1, 3) @ np.array([1 << 16, 1 << 8, 1]))
    assert len(colours) > 500  # curves and pictures, not only text
    rows_with_content = (pixels.std(axis=1).max(axis=1) > 3).mean()
    assert rows_with_content > 0.4


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{}", r"evaluation\.json: tables: expected a table of a measure, found None; gavt evaluate writes it anew"),
        ('{"tables": []}', r"evaluation\.json: has no align_corners; gavt evaluate writes it anew"),
        ("[1]", r"evaluation\.json: expected a JSON object, found list"),
        ("{", r"evaluation\.json: expected JSON"),
    ],
)
def test_an_evaluation_that_lacks_something_is_named(tmp_path: Path, content: str, sentence: str) -> None:
    (tmp_path / "evaluation.json").write_text(content)
    with pytest.raises(UserError, match=sentence):
        write_report(str(tmp_path))
