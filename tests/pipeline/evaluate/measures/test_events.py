"""Audio-visual events: the class of each segment, as AVE judges it."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from label_head import measure_of, row

from pipeline.evaluate.measures.classification import Answers, Labels
from pipeline.evaluate.measures.events import WHOLE, Events
from pipeline.prepare.manifests.read import ListOptions, VideoList
from tiny_run import write_shards

needs_ave = pytest.mark.skipif("GAVT_CORPUS" not in os.environ, reason="GAVT_CORPUS says where AVE's annotations lie")


def answers(there, scores):
    names = [f"v{place}" for place in range(len(there))]
    return Answers(names, names, np.asarray(there, bool), np.asarray(scores, np.float32), 0)


def marks_of(classes, count):
    """[N, T, C] of classes [N, T]."""
    return np.arange(count) == np.asarray(classes)[..., None]


def official_accuracy(labels, scores):
    """What AVE's `compute_acc(labels, x_labels, nb_batch)` counts: the arg-max of truth and answer of each segment."""
    pre_labels, real_labels = (
        scores.reshape(-1, scores.shape[-1]).argmax(1),
        np.zeros(labels.shape[0] * labels.shape[1]),
    )
    for number, one in enumerate(labels.reshape(-1, labels.shape[-1])):
        real_labels[number] = np.argmax(one)
    return float((pre_labels == real_labels).mean())


@pytest.fixture(scope="module")
def measure(tmp_path_factory):
    url = write_shards(tmp_path_factory.mktemp("events") / "shards", [{}])
    return measure_of(url, kind=Events, segments=3)


def test_by_hand(measure):
    """Flute, background, flute and all background; the answers are all flute."""
    there = marks_of([[2, 4, 2], [4, 4, 4]], 5)
    (table,) = measure.tables([answers(there, marks_of([[2, 2, 2], [2, 2, 2]], 5))])
    assert row(table, "model") == pytest.approx({"accuracy": 2 / 6, "foreground": 1, "background": 0, "balanced": 0.5})
    whole = row(table, WHOLE)
    assert whole == pytest.approx({"accuracy": 5 / 6, "foreground": 1, "background": 3 / 4, "balanced": 7 / 8})
    assert row(table, "the commonest class always")["accuracy"] == pytest.approx(4 / 6)
    assert table.notes == ("of 6 segments 2 have an event, 4 are background",)


@given(seed=st.integers(0, 10_000), videos=st.integers(1, 6))
@settings(max_examples=25)
def test_the_accuracy_is_that_of_aves_code(measure, seed, videos):
    generator = np.random.default_rng(seed)
    there, scores = marks_of(generator.integers(0, 5, (videos, 3)), 5), generator.random((videos, 3, 5), np.float32)
    (table,) = measure.tables([answers(there, scores)])
    assert row(table, "model")["accuracy"] == pytest.approx(official_accuracy(there, scores), abs=1e-12)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=25)
def test_an_answer_that_becomes_right_never_scores_less(measure, seed):
    generator = np.random.default_rng(seed)
    there, scores = marks_of(generator.integers(0, 5, (3, 3)), 5), generator.random((3, 3, 5), np.float32)
    better = scores.copy()
    video, segment = generator.integers(0, 3, 2)
    better[video, segment, there[video, segment].argmax()] = 2
    one, other = (row(measure.tables([answers(there, said)])[0], "model") for said in (scores, better))
    assert all(other[name] >= value - 1e-12 for name, value in one.items() if value is not None)


def test_samples_give_the_figures_of_all_rows(measure):
    generator = np.random.default_rng(0)
    there, scores = marks_of(generator.integers(0, 5, (4, 3)), 5), generator.random((4, 3, 5), np.float32)
    scores[0, 0, 0] = np.nan
    found = [answers(there, scores)]
    (table,), (given_by,) = measure.tables(found), measure.sample_scores(found)
    assert given_by.ids[:4] == ["v0 segment 0", "v0 segment 1", "v0 segment 2", "v1 segment 0"]
    assert {name: given_by.figures(name) for name in given_by.values} == {one.name: one.values for one in table.rows}
    assert table.warnings == ("1 answers of events are not finite (NaN or infinite): they count as wrong",)


def test_heads_of_samples_are_judged_by_classification_and_of_segments_by_events(located_shards):
    whole, parts = measure_of(located_shards), measure_of(located_shards, kind=Events, segments=3)
    reasons = [
        kind.reason_against(one.judged.trained, one.judged.samples) for kind, one in ((Events, whole), (Labels, parts))
    ]
    assert reasons == [
        "it needs a head that tells segments, with task.segments and task.labels=one",
        "the head tells segments with a background, which the measure events judges",
    ]


@needs_ave
def test_one_true_class_for_all_ten_segments_of_aves_test_videos_scores_82_per_cent(tmp_path_factory):
    url = str(Path(os.environ["GAVT_CORPUS"]) / "manifests" / "AVE" / "Annotations.txt")
    rows = list(VideoList([url], ListOptions(split="test", need_places=False)))
    assert len(rows) == 402
    names = sorted({name for one in rows for name in one.labels})
    there = marks_of([[names.index(s[0]) if s else len(names) for s in one.segment_labels] for one in rows], 29)
    shards = write_shards(tmp_path_factory.mktemp("ave") / "shards", [{}])
    measure = measure_of(shards, kind=Events, classes=names, segments=10)
    (table,) = measure.tables([answers(there, np.zeros(there.shape))])
    whole = row(table, WHOLE)
    assert whole["accuracy"] == pytest.approx(0.822, abs=5e-4)
    assert (whole["foreground"], whole["background"]) == (1.0, 0.0)
    assert row(table, "the commonest class always") == pytest.approx(
        {"accuracy": 1 - whole["accuracy"], "foreground": 0, "background": 1, "balanced": 1 / 29}
    )
