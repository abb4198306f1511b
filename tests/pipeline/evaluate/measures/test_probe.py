"""Labels told from embeddings."""

import dataclasses

import numpy as np
import pytest
import torch

from pipeline.errors import SettingsError
from pipeline.evaluate.measures.contract import Judged, Lessons
from pipeline.evaluate.measures.probe import Probe
from pipeline.evaluate.registry import ProbeSettings
from pipeline.evaluate.samples import EvaluationSamples
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.train.load import Trained, untrained
from tiny_run import NAMES, tiny_experiment, write_shards


def labelled(count, several=False):
    of = [[NAMES[n % 4], NAMES[(n // 4) % 4]] if several else [NAMES[n % 4]] for n in range(count)]
    return [{"labels": sorted(set(names))} for names in of]


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("probe")
    counts = {"train": 40, "validation": 12, "test": 16}
    return {name: write_shards(folder / name, labelled(n), seed=n) for name, n in counts.items()}


def probe_of(test, train, validation=None, **words):
    """A model with random weights, which has learnt and chosen; and what it finds in the samples."""
    settings, evaluate = tiny_experiment(train), EvaluateSettings(batch_size=8)
    opened = [
        EvaluationSamples.open(one, settings, evaluate, torch.device("cpu")) for one in (test, train, validation) if one
    ]
    trained = Trained(untrained(settings, "cpu", 3), settings, 1, "run")
    judged = Judged(trained, opened[0], opened[2] if validation else None, evaluate)
    measure = Probe(ProbeSettings(decays=(1.0, 0.01), **words), judged)
    found = [[measure.learn(chunk) for chunk in one.go_through(one.chunks())] for one in opened]
    return measure, found


def told_by(measure, found):
    measure.learnt(found[1])
    if len(found) > 2:
        measure.chosen(found[2])
    return measure.tables(found[0])


def knowing(found, name="embedded/audio"):
    """The same where a vector says the labels."""
    changed = []
    for (one,) in found:
        truth = np.array([[float(label in some) for label in NAMES] for some in one.known.labels], np.float32)
        changed.append([dataclasses.replace(one, own=one.own | {name: truth})])
    return changed


def rows_of(table):
    return {row.name: row.values for row in table.rows}


def test_a_stream_that_says_the_label_is_chosen_and_tells_all(sets):
    measure, found = probe_of(sets["test"], sets["train"], sets["validation"])
    (table,) = told_by(measure, knowing(found))
    rows = rows_of(table)
    assert rows["sounds, as embedded"] == {"linear": 1.0, "nearest": 1.0}
    assert rows["model"]["linear"] == 1.0
    assert (table.samples, table.columns[0].title) == (16, "linear, accuracy")
    assert rows["how common each label is"] == {"linear": 0.25, "nearest": 0.25}
    assert {"mean colour", "mean spectrum", "untrained network, frames", "untrained network, all streams"} <= set(rows)
    assert {"frames, encoded alone", "all streams, encoded together", "all streams, as embedded"} <= set(rows)
    assert rows["untrained network, sounds"]["linear"] < 1


def test_nothing_of_the_labels_that_are_asked_for_is_learnt_or_chosen_by(sets):
    measure, found = probe_of(sets["test"], sets["train"], sets["validation"])
    told_by(measure, found)
    (one,) = found[0]
    others = [dataclasses.replace(one, known=dataclasses.replace(one.known, labels=[["flute"]] * len(one.known)))]
    before, after = measure._tell(found[0]).rows, measure._tell(others).rows
    for name, answers in after.items():
        assert answers.decay == before[name].decay
        assert answers.linear == pytest.approx(before[name].linear)


def test_without_a_validation_split_a_fifth_of_the_videos_that_were_to_be_learnt_from_choose(sets):
    measure, found = probe_of(sets["test"], sets["train"])
    (table,) = told_by(measure, knowing(found))
    assert "8 of them, of a fifth of the videos, choose: no validation split can" in table.notes
    assert rows_of(table)["model"]["linear"] == 1.0


def test_several_labels_are_told_by_mean_average_precision(tmp_path, sets):
    train, test = (write_shards(tmp_path / str(n), labelled(n, several=True), seed=n) for n in (32, 16))
    measure, found = probe_of(test, train)
    found = knowing(found)
    (table,) = told_by(measure, found)
    rows = rows_of(table)
    assert table.columns[0].title == "linear, mAP"
    assert rows["sounds, as embedded"]["linear"] == pytest.approx(1.0)
    there = np.array([[name in one["labels"] for name in NAMES] for one in labelled(16, True)])
    assert rows["how common each label is"]["linear"] == pytest.approx(there.mean(0).mean())
    (scores,) = measure.sample_scores(found[0])
    assert scores.figures("model")["linear"] == rows["model"]["linear"]


def test_the_means_of_what_is_told_of_samples_are_the_figures(sets):
    measure, found = probe_of(sets["test"], sets["train"], sets["validation"])
    (table,) = told_by(measure, found)
    (scores,) = measure.sample_scores(found[0])
    assert {row.name: scores.figures(row.name) for row in table.rows} == rows_of(table)


def test_samples_without_labels_and_of_videos_that_were_learnt_from_are_told(tmp_path, sets):
    odd = write_shards(tmp_path / "odd", [*labelled(6), {}, {"labels": ["gong"]}], seed=40)  # the training set's videos
    measure, found = probe_of(odd, sets["train"], sets["validation"])
    (table,) = told_by(measure, found)
    assert table.samples == 6
    assert "2 samples without a label that was learnt are left out" in table.notes
    assert table.warnings == ("6 samples are of videos or images that the probe learnt from",)
    silent = write_shards(tmp_path / "silent", [{}] * 4, seed=5)
    measure, found = probe_of(sets["test"], silent)
    (table,) = told_by(measure, found)
    assert (table.rows, table.notes) == ((), (f"no sample of {silent} has a label",))
    assert measure.sample_scores(found[0]) == []


def test_of_vectors_that_are_no_numbers_nothing_is_learnt_and_what_is_told_is_wrong(sets):
    measure, found = probe_of(sets["test"], sets["train"], sets["validation"])
    found = knowing(found)
    for place, rows in ((0, slice(0, 4)), (1, slice(0, 3))):
        found[place][0].own["embedded/audio"][rows] = np.nan
    (table,) = told_by(measure, found)
    assert rows_of(table)["sounds, as embedded"]["linear"] == pytest.approx(12 / 16)
    assert [warning.partition(":")[2] for warning in table.warnings] == [
        " nothing is learnt from such",
        " they count as wrong",
    ]


def test_what_to_learn_from_is_the_run_s_training_set_or_named(sets):
    measure, _ = probe_of(sets["test"], sets["train"])
    assert measure.learns_from == Lessons(sets["train"], 20_000)
    judged = measure.judged
    assert Probe(ProbeSettings(train="else", train_samples=5), judged).learns_from == Lessons("else", 5)
    nowhere = dataclasses.replace(judged.trained, settings=tiny_experiment())
    with pytest.raises(SettingsError, match="probe.train: expected the shard set to learn from, found none"):
        Probe(ProbeSettings(), dataclasses.replace(judged, trained=nowhere))
