"""The measures against the public evaluators' formulas (LVS, EZ-VSL, IS3), written down again here as plainly as can
be: for random maps and boxes, ties, constant maps, boxes beyond the frame and boxes without area."""

import json
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluate.baselines.simple_maps import centre_disc
from pipeline.evaluate.metrics.area import highest
from pipeline.evaluate.metrics.ciou import (
    Overlap,
    adaptive_ciou,
    area_under_curve,
    consensus_iou,
    half_area_ciou,
    success_rate,
)
from pipeline.evaluate.metrics.ground_truth import crop_boxes, draw_boxes
from pipeline.evaluate.metrics.iiou import interactive_auc, interactive_iou
from pipeline.evaluate.metrics.scores import average, score_map
from pipeline.evaluate.samples import EvaluationSamples
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.features.settings import Geometry
from tiny_run import tiny_experiment, write_shards

SIZE = 224
Array = npt.NDArray[np.float64]
corner = st.one_of(st.floats(-0.5, 1.5), st.sampled_from([0.0, 0.25, 0.5, 1.0, -2.8823037615171176e16]))
boxes = st.lists(st.tuples(corner, corner, corner, corner), max_size=3)


def random_map(seed: int, levels: int) -> Array:
    """Smooth in places, rough in others; with `levels` there are only so many values."""
    generator = np.random.default_rng(seed)
    coarse = np.kron(generator.random((14, 14)), np.ones((16, 16)))
    heat = coarse + 0.1 * generator.random((SIZE, SIZE))
    return np.floor(heat * levels) if levels else heat


def truth_of(found: list[tuple[float, ...]]) -> Array:
    """VGG-SS: the union of boxes with corners at int(224 · max(v, 0)), pixel by pixel."""
    truth = np.zeros((SIZE, SIZE))
    for box in found:
        x1, y1, x2, y2 = (int(224 * max(value, 0)) for value in box)
        for row in range(y1, min(y2, SIZE)):
            for column in range(x1, min(x2, SIZE)):
                truth[row, column] = 1
    return truth


def formula(predicted: Array, truth: Array) -> float:
    """Σ(P·G) / (ΣG + Σ P·[G == 0]), nought where nothing is predicted and nothing true."""
    below = truth.sum() + (predicted * (truth == 0)).sum()
    return float((predicted * truth).sum() / below) if below else 0.0


def min_max(heat: Array) -> Array:
    low, high = heat.min(), heat.max()
    return heat if low == high else (heat - low) / (high - low)


@settings(deadline=None, max_examples=60)
@given(boxes)
def test_boxes_become_the_mask_of_the_official_code(found: list[tuple[float, float, float, float]]) -> None:
    assert np.array_equal(draw_boxes(found, SIZE), truth_of(found) == 1)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), boxes)
def test_without_ties_ciou_is_that_of_the_official_code(
    seed: int, found: list[tuple[float, float, float, float]]
) -> None:
    heat, truth = random_map(seed, 0), truth_of(found)
    scaled, pixels = min_max(heat), SIZE * SIZE
    ordered = np.sort(scaled.ravel())
    assert len(np.unique(ordered)) == pixels
    threshold = ordered[pixels // 2]
    assert half_area_ciou(heat, truth == 1) == pytest.approx(formula((scaled > threshold) * 1.0, truth))
    # the other family of code counts the threshold itself: one pixel more
    or_equal = (scaled >= threshold) * 1.0
    assert np.array_equal(highest(heat, pixels - pixels // 2), or_equal == 1)
    area = int((truth != 0).sum())
    exactly = scaled >= ordered[pixels - area] if area else np.zeros_like(scaled)
    assert adaptive_ciou(heat, truth == 1) == pytest.approx(formula(exactly * 1.0, truth))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(0, SIZE * SIZE))
def test_with_ties_the_area_is_still_exact_and_no_lower_pixel_is_taken(seed: int, levels: int, area: int) -> None:
    heat = random_map(seed, levels)
    taken = highest(heat, area)
    assert taken.sum() == area
    if 0 < area < taken.size:
        assert heat[taken].min() >= heat[~taken].max()
    assert np.array_equal(taken, highest(heat.copy(), area))


def test_a_constant_map_scores_as_half_the_area_anywhere() -> None:
    truth = truth_of([(0.25, 0.25, 0.75, 0.75)])
    half = formula(np.where(np.arange(SIZE * SIZE).reshape(SIZE, SIZE) % 2, 1.0, 0.0), truth)  # every second pixel
    assert half_area_ciou(np.ones((SIZE, SIZE)), truth == 1) == pytest.approx(half, abs=0.01)
    assert adaptive_ciou(np.ones((SIZE, SIZE)), truth == 1) == pytest.approx(0.25 / (2 - 0.25), abs=0.01)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.lists(st.lists(st.integers(0, 256), min_size=4, max_size=4), min_size=3, max_size=3))
def test_three_annotators_count_as_flickr_soundnet_counts_them(seed: int, annotated: list[list[int]]) -> None:
    votes = np.zeros((SIZE, SIZE))
    for box in annotated:
        x1, y1, x2, y2 = (int(224 * value / 256) for value in box)
        votes[y1:y2, x1:x2] += 1
    truth = np.minimum(votes / 2, 1)
    heat = random_map(seed, 0)
    predicted = heat > np.sort(heat.ravel())[SIZE * SIZE // 2]
    assert consensus_iou(predicted, truth) == pytest.approx(formula(predicted * 1.0, truth))
    assert half_area_ciou(heat, truth) == pytest.approx(formula(predicted * 1.0, truth))


@given(st.lists(st.one_of(st.floats(0, 1), st.integers(0, 20).map(lambda step: 0.05 * step)), min_size=1, max_size=30))
def test_success_and_its_area_are_those_of_the_official_code(cious: list[float]) -> None:
    rates = [np.sum(np.array(cious) >= 0.05 * step) / len(cious) for step in range(21)]
    assert success_rate(cious) == np.mean([ciou >= 0.5 for ciou in cious])
    assert area_under_curve(cious) == pytest.approx(np.trapezoid(rates, [0.05 * step for step in range(21)]))


@given(st.lists(st.tuples(st.floats(0, 1), st.sampled_from("abc")), min_size=1, max_size=20))
def test_iiou_is_the_mean_over_images_of_the_worst_sound(drawn: list[tuple[float, str]]) -> None:
    of_image = {image: [ciou for ciou, other in drawn if other == image] for image in "abc"}
    worst = [min(float(ciou >= 0.5) for ciou in cious) for cious in of_image.values() if len(cious) > 1]
    expected = sum(worst) / len(worst) if worst else None
    assert interactive_iou([ciou for ciou, _ in drawn], [image for _, image in drawn]) == expected


@given(st.lists(st.tuples(st.floats(0, 1), st.sampled_from("abc")), min_size=1, max_size=20), st.booleans())
def test_iauc_is_the_area_of_the_worst_sounds_share_over_the_thresholds(
    drawn: list[tuple[float, str]], alone: bool
) -> None:
    of_image = {image: np.array([ciou for ciou, other in drawn if other == image]) for image in "abc"}
    counted = [cious for cious in of_image.values() if len(cious) > (0 if alone else 1)]
    at = [0.05 * step for step in range(21)]
    rates = [np.mean([np.min(cious >= threshold) for cious in counted]) for threshold in at] if counted else []
    expected = pytest.approx(np.trapezoid(rates, at)) if counted else None
    assert interactive_auc([ciou for ciou, _ in drawn], [image for _, image in drawn], alone) == expected


@pytest.mark.parametrize("spoilt", [float("nan"), float("inf"), float("-inf")])
def test_a_map_that_is_not_finite_fails_and_is_counted(spoilt: float) -> None:
    heat = random_map(0, 0)
    whole = np.ones((SIZE, SIZE), dtype=bool)
    assert score_map(heat, whole).pointing
    heat[3, 4] = spoilt
    score = score_map(heat, whole)
    assert (score.pointing, score.ciou, score.ciou_adap, score.finite) == (False, 0.0, 0.0, False)
    assert average([score, score], [None, None])["not_finite"] == 2


def test_an_empty_truth_is_a_failure() -> None:
    score = score_map(random_map(1, 0), np.zeros((SIZE, SIZE), dtype=bool))
    assert (score.pointing, score.ciou, score.ciou_adap, score.finite) == (False, 0.0, 0.0, True)


@pytest.mark.parametrize("square", [(0.0, 0.0, 1.0, 1.0), (0.25, 0.0, 0.75, 1.0), (0.0, -0.3888, 1.0, 1.3888)])
@settings(deadline=None, max_examples=30)
@given(st.tuples(*[st.floats(0, 1)] * 4))
def test_boxes_are_moved_as_the_frame_is(
    square: tuple[float, float, float, float], box: tuple[float, float, float, float]
) -> None:
    """Each pixel of the mask belongs to the box exactly when its corner, brought back into the frame, does."""
    left, top, right, bottom = square
    mask = draw_boxes(crop_boxes([box], square), SIZE)
    steps = np.arange(SIZE) / SIZE
    x, y = left + (steps + 0.5 / SIZE) * (right - left), top + (steps + 0.5 / SIZE) * (bottom - top)
    inside = ((y >= box[1]) & (y < box[3]))[:, None] & ((x >= box[0]) & (x < box[2]))[None]
    rows, columns = np.nonzero(mask != inside)
    edge_x = np.abs(np.subtract.outer(x, [box[0], box[2]])).min(1) <= 1.01 * (right - left) / SIZE
    edge_y = np.abs(np.subtract.outer(y, [box[1], box[3]])).min(1) <= 1.01 * (bottom - top) / SIZE
    assert (edge_x[columns] | edge_y[rows]).all()


@pytest.mark.skipif("GAVT_CORPUS" not in os.environ, reason="GAVT_CORPUS names no folder with the VGG-SS list")
def test_real_boxes_on_wide_frames_are_judged_over_the_whole_frame(tmp_path: Path) -> None:
    """The centre disc on 300 rows of VGG-SS with frames of 16:9, read as `gavt evaluate` reads them."""
    path = Path(os.environ["GAVT_CORPUS"]) / "manifests" / "VGGSS" / "vggss.json"
    if not path.exists():
        pytest.skip(f"no VGG-SS list at {path}")
    listed = json.loads(path.read_text())[::17][:300]
    rows = [{"labels": [row["class"]], "boxes": np.clip(row["bbox"], 0, 1).tolist()} for row in listed]
    url = write_shards(tmp_path / "shards", rows, size=(64, 36))
    disc = centre_disc(SIZE)

    def scores(geometry: Geometry | None) -> list[float]:
        chosen = EvaluateSettings(geometry=geometry)
        samples = EvaluationSamples.open(url, tiny_experiment(), chosen, torch.device("cpu"))
        judged = {
            index: half_area_ciou(disc, truth)
            for chunk in samples.go_through(samples.chunks())
            for index, truth in zip(chunk.judged.indices, chunk.judged.truths, strict=True)
            if truth is not None
        }
        return [judged[index] for index in range(len(listed))]

    plain = [half_area_ciou(disc, truth_of(row["bbox"]) == 1) for row in listed]
    assert scores(None) == pytest.approx(plain)
    assert scores("letterbox") == pytest.approx(plain)
    assert 0.30 < success_rate(plain) < 0.37
    assert success_rate(scores("centre")) > success_rate(plain) + 0.04  # flatters: boxes are cut, large ones grow


wide = st.sampled_from([0.0, 1.0, 1e-45, 3e38, -3e38, 0.1, -2.5])


@settings(deadline=None, max_examples=60)
@given(st.lists(wide, min_size=1, max_size=40), st.integers(0, 41), st.sampled_from([np.float32, np.float64]))
def test_the_highest_pixels_are_those_of_a_sort_whatever_the_values_span(
    values: list[float], count: int, kind: type[np.floating]
) -> None:
    heat = np.array(values, dtype=kind)[None]
    taken = highest(heat, count)
    assert taken.sum() == min(count, heat.size)
    assert sorted(heat[taken]) == sorted(heat.ravel())[heat.size - min(count, heat.size) :]
    overlap = Overlap(heat, np.arange(heat.size)[None] % 2 == 0)
    every = range(heat.size + 1)
    cuts = overlap.ranking.cuts(every, np.unique(heat))
    expected = [consensus_iou(highest(heat, pixels), np.arange(heat.size)[None] % 2 == 0) for pixels in every]
    expected += [consensus_iou(heat >= level, np.arange(heat.size)[None] % 2 == 0) for level in np.unique(heat)]
    assert overlap.cious(cuts) == pytest.approx(np.array(expected))
    if count:
        (ends,) = cuts.end[[min(count, heat.size)]] - 1
        assert cuts.values[ends] == heat[taken].min()
