"""Maps beside silent things, and with sounds that are not the frame's."""

import math

import numpy as np
import pytest
import torch

from pipeline.evaluate.measures.contract import Judged
from pipeline.evaluate.measures.distractor import paste_distractor
from pipeline.evaluate.measures.robustness import Robustness
from pipeline.evaluate.registry import RobustnessSettings
from pipeline.evaluate.samples import EvaluationSamples, mask_in_square
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.train.load import Trained, untrained
from tiny_run import located_rows, tiny_experiment, write_shards

SOUNDS = ("silence", "noise", "off_screen", "other")


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Sixteen frames of one orange thing that sounds."""
    rows = located_rows(16)
    for number, row in enumerate(rows):
        row |= {"group": None, "visible": row["labels"], "boxes": [[0.1 + 0.05 * (number % 4), 0.2, 0.4, 0.6]]}
    return write_shards(tmp_path_factory.mktemp("robust") / "shards", rows)


def orange(batch):
    frames = batch.middle.float() / 255
    return (frames[:, 0] - frames[:, 2]).clamp(min=0)


def loudness(batch):
    return batch.inputs["sound"].square().mean((1, 2)).sqrt()[:, None, None]


def measure_of(url, read=None, batch_size=16):
    """Of a model whose maps are what `read` makes of a batch."""
    settings, evaluate = (
        tiny_experiment(),
        EvaluateSettings(batch_size=batch_size, map_size=64, readouts=("class_token",)),
    )
    samples = EvaluationSamples.open(url, settings, evaluate, torch.device("cpu"))
    trained = Trained(untrained(settings, "cpu", 0).eval(), settings, 1, "run")
    assert Robustness.reason_against(trained, samples) is None
    measure = Robustness(RobustnessSettings(), Judged(trained, samples, None, evaluate))
    if read is not None:
        measure._chooser.read = lambda name, system, batch: (read(batch).numpy(), None)
    return measure


def found_by(measure, chunks=None):
    samples = measure.judged.samples
    return [measure.judge(chunk) for chunk in samples.go_through(chunks or samples.chunks(measure.group))]


def tables_of(measure):
    return {table.measure: table for table in measure.tables(found_by(measure))}


def row(table, name):
    return next(one.values for one in table.rows if one.name == name)


def test_a_map_that_does_not_listen_keeps_all_of_itself(shards):
    tables = tables_of(measure_of(shards, orange))
    for name in ("model", "model, each map scaled to 0–1", "centre disc"):
        for table in ("robustness", "robustness_truth"):
            assert {row(tables[table], name)[sound] for sound in SOUNDS} == {1.0}, (table, name)
        assert all(0.4 < value < 0.6 for value in row(tables["robustness_confidence"], name).values())
    assert all(row(tables["robustness"], "image saliency")[sound] == 1 for sound in SOUNDS)
    assert (
        row(tables["robustness"], "model")["distractor"] == row(tables["robustness"], "centre disc")["distractor"] == 1
    )
    told = row(tables["robustness_pointing"], "model")
    assert {told[sound] for sound in SOUNDS} == {told["own"]} == {1}
    assert 0 < told["lured"] == pytest.approx(1 - told["distractor"])  # as orange as what sounds


def test_a_map_that_sinks_with_silence_is_seen_as_it_is_and_not_scaled(shards):
    tables = tables_of(measure_of(shards, lambda batch: orange(batch) * (0.01 + loudness(batch))))
    kept = row(tables["robustness"], "model")
    assert kept["silence"] == 0
    assert kept["noise"] > 0.9  # as loud
    assert kept["distractor"] == 1
    assert row(tables["robustness"], "model, each map scaled to 0–1")["silence"] == 1
    assert row(tables["robustness_confidence"], "model")["silence"] == 1
    assert (
        row(tables["robustness_overlap"], "model")["silence"] == row(tables["robustness_overlap"], "model")["own"] > 0.9
    )
    (headline,) = tables["robustness"].headlines
    assert (headline.value, dict(headline.beside)["a map that does not listen"]) == (1, 1)


def test_another_video_s_sound_is_of_no_class_that_sounds_in_the_own_frame(shards):
    measure = measure_of(shards)
    samples = list(measure.judged.samples.read(range(8)).judged.metadata)
    samples = [
        one.model_copy(update={"labels": ["bell" if place < 6 else "harp"]}) for place, one in enumerate(samples)
    ]
    assert {6, 7}.issuperset(measure._partners(0, samples)["other"][:6])
    same = [one.model_copy(update={"labels": ["bell"]}) for one in samples]
    assert measure._partners(0, same)["other"] == [None] * 8


def test_a_thing_is_pasted_beside_what_sounds_and_looks_as_in_its_own_frame(shards):
    samples = measure_of(shards).judged.samples
    batch = samples.read(range(8)).judged
    for place in range(8):
        one, again = (paste_distractor(batch, place, (place + 1) % 8, np.random.default_rng(place)) for _ in range(2))
        assert one.box == again.box
        thing, truth = (
            mask_in_square([one.box], batch.squares[place], 32),
            mask_in_square(batch.metadata[place].boxes, batch.squares[place], 32),
        )
        assert thing.any()
        assert not (thing & truth).any()
        changed = (one.frames != batch.inputs["frames"][place]).any(1).any(0).numpy()
        assert not (changed & ~thing).any()
        red, _, blue = one.frames[0][:, thing].mean(1).tolist()  # its outermost pixels are half background
        assert red > 0.7 > 0.3 > blue


def test_there_is_no_room_in_a_frame_that_sounds_all_over(tmp_path):
    rows = [
        {"boxes": [[0.0, 0.0, 1.0, 1.0]], "labels": ["drum"]},
        {"boxes": [[0.2, 0.2, 0.35, 0.35]], "labels": ["violin"]},
    ]
    measure = measure_of(write_shards(tmp_path / "shards", rows), orange)
    tables = tables_of(measure)
    assert tables["robustness"].samples == 2
    assert "silent distractor 1" in tables["robustness"].notes[0]


def test_figures_hang_on_neither_batches_nor_processes(shards):
    system = measure_of(shards)
    whole = system.tables(found_by(system))
    other = measure_of(shards, batch_size=3)
    for ours, theirs in zip(whole, other.tables(found_by(other, [range(8), range(8, 16)])), strict=True):
        for one, two in zip(ours.rows, theirs.rows, strict=True):
            assert one.values == pytest.approx(two.values, abs=0.02), (ours.measure, one.name)


def test_samples_give_the_figures_of_all_rows(shards):
    measure = measure_of(shards, lambda batch: orange(batch) * loudness(batch))
    found = found_by(measure)
    for table, scores in zip(measure.tables(found), measure.sample_scores(found), strict=True):
        assert scores.measure == table.measure
        assert {name: scores.figures(name) for name in scores.values} == {one.name: one.values for one in table.rows}


def test_a_map_that_is_not_finite_points_nowhere_and_says_nothing_of_what_stays(shards):
    tables = tables_of(measure_of(shards, lambda batch: orange(batch) * math.nan))
    assert set(row(tables["robustness"], "model").values()) == {None}
    assert set(row(tables["robustness_pointing"], "model").values()) == {0.0}
    assert tables["robustness"].warnings == ("96 maps are not finite (NaN or infinite): they keep and find nothing",)


def test_a_set_without_boxes_has_no_figures(unlabelled_shards):
    measure = measure_of(unlabelled_shards)
    (table,) = measure.tables(found_by(measure))
    assert table.rows == ()
    assert "has no boxes with an area" in table.notes[0]
