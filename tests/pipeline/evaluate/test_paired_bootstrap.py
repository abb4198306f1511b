"""Two models on the same samples: the difference, its interval and p."""

import io
import math
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import RunError
from pipeline.evaluate.measures.contract import SampleScores
from pipeline.evaluate.metrics.statistics import AreaUnderRoc, Mean, MeanAveragePrecision, MeanOfRatios
from pipeline.evaluate.paired_bootstrap import bootstrap, compare_scores
from pipeline.evaluate.sample_scores import SCORES, as_npz, read_scores


def scores(values, ids=None, clusters=None, row="model", measure="m"):
    ids = [f"s{place}" for place in range(len(values))] if ids is None else ids
    return {measure: SampleScores(measure, ids, clusters or ids, {row: {"right": np.array(values, np.float64)}})}


def test_a_model_compared_with_itself_differs_by_nothing() -> None:
    one = scores([1, 0, 1, 1, 0])
    (found,) = compare_scores([one], [one], "model", 500)
    assert (found.difference, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)


def test_a_difference_that_all_samples_share_is_certain() -> None:
    (found,) = compare_scores([scores([3.0, 4.0, 5.0])], [scores([1.0, 2.0, 3.0])], "model", 999)
    assert (found.one, found.other, found.difference) == (4.0, 2.0, 2.0)
    assert (found.low, found.high) == pytest.approx((2.0, 2.0))
    assert found.p == 2 / 1000  # the least of so many draws


def test_means_of_two_clusters_are_those_of_all_ways_to_draw_them() -> None:
    (drawn,) = bootstrap([Mean(np.array([0.0, 0.0, 3.0]))], np.array([0, 0, 1]), 40_000, 1)
    values, counts = np.unique(drawn, return_counts=True)
    assert values.tolist() == [0.0, 1.0, 3.0]  # two samples of the first cluster and one of the second: 3 ÷ 3
    assert counts / 40_000 == pytest.approx([0.25, 0.5, 0.25], abs=0.01)


def test_the_same_seed_gives_the_same_figures_in_any_order_of_samples() -> None:
    generator = np.random.default_rng(0)
    a, b = generator.random((2, 60))
    ids = [f"s{place:02d}" for place in range(60)]
    order = generator.permutation(60)
    turned = scores(b[order], [ids[place] for place in order])
    first, again = (compare_scores([scores(a, ids)], [other], "model", 300, 5) for other in (scores(b, ids), turned))
    assert first == again
    assert first != compare_scores([scores(a, ids)], [turned], "model", 300, 6)


def test_the_interval_covers_the_true_difference_19_times_in_20_also_of_samples_that_share_images() -> None:
    generator, covered, trials = np.random.default_rng(3), 0, 300
    for trial in range(trials):
        of_image = generator.normal(0.3, 1.0, 40).repeat(3)  # the same error for three samples
        apart = of_image + generator.normal(0.0, 0.2, 120)
        images = [f"i{place // 3}" for place in range(120)]
        one, other = scores(apart, clusters=images), scores(np.zeros(120), clusters=images)
        (found,) = compare_scores([one], [other], "model", 400, trial)
        covered += found.low <= 0.3 <= found.high
        assert found.clusters == 40
    assert 0.90 <= covered / trials <= 0.98


def test_samples_are_matched_by_id_and_those_that_only_one_has_are_counted() -> None:
    one = scores([1.0, 0.0, math.nan, 1.0], ["a", "b", "c", "d"])
    other = scores([0.0, 0.0, 0.0, 1.0], ["b", "a", "c", "e"])
    (found,) = compare_scores([one], [other], "model", 200)
    assert (found.samples, found.left_out) == (2, 3)  # c was not judged, d and e are of one side
    assert (found.one, found.other) == (0.5, 0.0)


def test_seeds_are_averaged_sample_by_sample_and_their_own_spread_stands_beside() -> None:
    one = [scores([1.0, 1.0]), scores([1.0, 0.0])]
    (found,) = compare_scores(one, [scores([0.0, 0.0]), scores([0.0, 1.0])], "model", 200)
    assert (found.one, found.other) == (0.75, 0.25)
    assert found.over_seeds == pytest.approx(12.706 * np.std([1.0, 0.0], ddof=1) / math.sqrt(2))
    (alone,) = compare_scores(one, [scores([0.0, 0.0])], "model", 200)
    assert alone.over_seeds is None


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        (scores([1.0], ["elsewhere"]), "expected evaluations of the same samples, found none in common"),
        (scores([1.0], measure="n"), "a table in which all runs have the row model, found none in common among m"),
        (scores([1.0], row="reader"), "found none in common among m (model); m (reader)"),
        ({}, "found none in common among m (model)"),
    ],
)
def test_evaluations_with_nothing_in_common_are_refused(other, sentence) -> None:
    with pytest.raises(RunError) as raised:
        compare_scores([scores([1.0, 0.0])], [other], "model")
    assert sentence in str(raised.value)


def test_a_figure_that_is_no_mean_over_samples_is_found_anew_of_each_draw() -> None:
    """Of two clusters with a present and an absent sample each, the area under the ROC curve is 1, ½ or ¾."""
    present, absent = np.array([0.9, np.nan, 0.4, np.nan]), np.array([np.nan, 0.5, np.nan, 0.4])
    (drawn,) = bootstrap([AreaUnderRoc(present, absent)], np.array([0, 0, 1, 1]), 4000, 2)
    values, counts = np.unique(drawn, return_counts=True)
    assert values == pytest.approx([0.5, 0.625, 1.0])
    assert counts / 4000 == pytest.approx([0.25, 0.5, 0.25], abs=0.03)


def test_an_evaluation_compared_with_itself_differs_by_nothing_in_figures_of_any_kind() -> None:
    generator = np.random.default_rng(4)
    there = generator.random((3, 20)) < 0.4
    figures = {
        "auroc": AreaUnderRoc(generator.random(20), generator.random(20)),
        "balanced": MeanOfRatios((there & (generator.random((3, 20)) < 0.5))[None] * 1.0, there[None] * 1.0),
        "precision": MeanAveragePrecision(generator.random((3, 20)), there),
    }
    ids = [f"s{place}" for place in range(20)]
    one = {"m": SampleScores("m", ids, ids, {"model": figures})}
    found = compare_scores([one], [one], "model", 200)
    assert [one.column for one in found] == list(figures)
    assert {(one.difference, one.low, one.high, one.p, one.left_out) for one in found} == {(0.0, 0.0, 0.0, 1.0, 0)}


def test_figures_that_are_not_of_one_kind_are_not_compared() -> None:
    """Accuracy where all samples have one label, mAP where some have several."""
    values = {"right": np.ones(2)}
    one, other = (
        {"m": SampleScores("m", ["a", "b"], ["a", "b"], {"model": values | {"told": told}})}
        for told in (Mean(np.ones(2)), MeanAveragePrecision(np.ones((1, 2)), np.ones((1, 2), np.bool_)))
    )
    assert [found.column for found in compare_scores([one], [other], "model", 100)] == ["right"]


def test_scores_come_back_as_they_were_written(tmp_path: Path) -> None:
    roc = AreaUnderRoc(np.array([0.5, math.nan]), np.array([math.nan, 0.2]))
    rows = {name: {"right": np.array([0.1, math.nan]), "auroc": roc} for name in ("model", "a.b / the row's")}
    written = SampleScores("m", ["a", "b"], ["i", "i"], rows)
    (tmp_path / SCORES).write_bytes(as_npz([written]))
    read = read_scores(str(tmp_path))["m"]
    assert (read.ids, read.clusters, read.columns) == (written.ids, written.clusters, ["right", "auroc"])
    assert list(read.values) == list(rows)
    for row in rows:
        assert read.figures(row) == written.figures(row) == {"right": 0.1, "auroc": 1.0}
        for name, array in roc.arrays.items():
            np.testing.assert_array_equal(read.statistic(row, "auroc").arrays[name], array)
    (tmp_path / SCORES).write_bytes(as_npz([]))
    assert read_scores(str(tmp_path)) == {}


def test_a_file_that_lacks_figures_is_damaged(tmp_path: Path) -> None:
    with np.load(io.BytesIO(as_npz([scores([1.0, 0.0])["m"]]))) as file:
        arrays = {name: file[name] for name in file.files}
    for changed in ({"m.0.0.mean.values": None}, {"m.0.0.mean.values": np.zeros(3)}, {"m.clusters": np.array(["i"])}):
        kept = {name: array for name, array in (arrays | changed).items() if array is not None}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **kept)
        (tmp_path / SCORES).write_bytes(buffer.getvalue())
        with pytest.raises(RunError, match=r"damaged \(.*m.*\); gavt evaluate writes it anew"):
            read_scores(str(tmp_path))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04nothing", b"text"])
def test_a_damaged_file_of_scores_is_named(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(RunError, match=r"evaluation_scores\.npz: no such file"):
        read_scores(str(tmp_path))
    (tmp_path / SCORES).write_bytes(content)
    with pytest.raises(RunError, match=r"evaluation_scores\.npz: damaged \(.*; gavt evaluate writes it anew"):
        read_scores(str(tmp_path))
