"""What a classification head is judged by."""

import numpy as np
import pytest
import torch
from label_head import measure_of, row

from pipeline.evaluate.measures.classification import Answers, Labels
from pipeline.evaluate.metrics.average_precision import average_precision
from pipeline.evaluate.samples import EvaluationSamples
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.train.load import Trained, untrained
from tiny_run import located_rows, tiny_experiment, write_shards


def test_the_model_stands_beside_who_always_says_the_commonest_class(tmp_path):
    rows = [*located_rows(8), {}, {"labels": ["violin"]}, {"labels": ["violin"]}]
    measure = measure_of(write_shards(tmp_path / "shards", rows))
    samples = measure.judged.samples
    found = [measure.judge(chunk) for chunk in samples.go_through(samples.chunks())]
    (table,) = measure.tables(found)
    assert (table.samples, table.details["left_out"]) == (10, 1)
    assert row(table, "the commonest class always")["accuracy"] == pytest.approx(0.4)
    assert row(table, "the commonest class always")["balanced"] == pytest.approx(0.25)
    assert row(table, "the commonest class always")["mean_precision"] == pytest.approx(0.25)
    told = np.concatenate([one.scores for one in found])[:, 0].argmax(1)
    truth = np.concatenate([one.there for one in found])[:, 0].argmax(1)
    assert row(table, "model")["accuracy"] == pytest.approx((told == truth).mean())
    assert table.headlines[0].value == row(table, "model")["accuracy"]


def test_a_set_without_labels_has_no_figures(unlabelled_shards):
    measure = measure_of(unlabelled_shards)
    samples = measure.judged.samples
    (table,) = measure.tables([measure.judge(chunk) for chunk in samples.go_through(samples.chunks())])
    assert (table.rows, table.samples) == ((), 0)
    assert "no sample has a label" in table.notes


def test_several_labels_are_judged_class_by_class(located_shards):
    measure = measure_of(located_shards, labels="several")
    there = np.array([[[1, 1, 0, 0]], [[0, 1, 0, 0]]], dtype=bool)
    scores = np.array([[[2, -1, 1, -3]], [[-2, 1, -1, -3]]], dtype=np.float32)
    (table,) = measure.tables([Answers(["a", "b"], ["a", "b"], there, scores, 0)])
    values = row(table, "model")
    assert values["accuracy"] == 1
    assert values["balanced"] == pytest.approx(((1 + 0.5) / 2 + 4 / 5) / 2)
    assert values["mean_precision"] == 1


def test_answers_that_are_no_numbers_are_wrong_and_told(located_shards):
    measure = measure_of(located_shards)
    there = np.zeros((2, 1, 4), bool)
    there[:, :, 0] = True
    scores = np.array([[[np.nan, 0, 0, 0]], [[1, 0, 0, 0]]], dtype=np.float32)
    (table,) = measure.tables([Answers(["a", "b"], ["a", "b"], there, scores, 0)])
    assert row(table, "model")["accuracy"] == 0.5
    assert table.warnings == ("1 answers of classification are not finite (NaN or infinite): they count as wrong",)


def test_average_precision_takes_equal_scores_together():
    there = np.array([True, False, True, False])
    assert average_precision(np.array([4.0, 3, 2, 1]), there) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert average_precision(np.zeros(4), there) == 0.5
    assert average_precision(np.zeros(4), ~there) == average_precision(np.zeros(4), there)
    assert average_precision(np.zeros(4), np.zeros(4, bool)) is None


def test_a_model_without_a_head_is_refused(located_shards):
    settings = tiny_experiment()
    samples = EvaluationSamples.open(located_shards, settings, EvaluateSettings(), torch.device("cpu"))
    reason = Labels.reason_against(Trained(untrained(settings, "cpu", 0), settings, 1, "run"), samples)
    assert reason == "it needs a model that was trained by classification, found task.kind = mma"
