"""The measures of localisation against values worked out by hand."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.evaluate.baselines.simple_maps import centre_disc, mean_box
from pipeline.evaluate.metrics.area import highest, highest_pixel
from pipeline.evaluate.metrics.ciou import (
    adaptive_ciou,
    area_under_curve,
    consensus_iou,
    half_area_ciou,
    success_rate,
)
from pipeline.evaluate.metrics.ground_truth import Mask, crop_boxes, draw_boxes
from pipeline.evaluate.metrics.iiou import interactive_iou
from pipeline.evaluate.metrics.resize import resize_map
from pipeline.evaluate.metrics.scores import average, score_map


def test_boxes_are_drawn_like_vgg_ss_draws_them() -> None:
    mask = draw_boxes([(-0.2, 0.5, 0.26, 0.75)], size=8)
    expected = np.zeros((8, 8), dtype=bool)
    expected[4:6, 0:2] = True
    assert (mask == expected).all()


def test_boxes_follow_the_square_crop() -> None:
    square = (0.25, 0.0, 0.75, 1.0)  # of an image twice as wide as high
    assert crop_boxes([(0.25, 0.25, 0.5, 0.5)], square) == [(0.0, 0.25, 0.5, 0.5)]
    assert crop_boxes([(0.0, 0.1, 0.2, 0.5)], square) == []
    assert crop_boxes([(0.5, 0.0, 1.0, 1.0)], square) == [(0.5, 0.0, 1.0, 1.0)]


def test_highest_takes_exactly_as_many_pixels_as_asked_for_also_among_equals() -> None:
    heat = np.array([[1.0, 3.0], [2.0, 2.0]])
    assert highest(heat, 1).tolist() == [[False, True], [False, False]]
    assert highest(heat, 2).sum() == 2
    assert highest(heat, 3).tolist() == [[False, True], [True, True]]
    constant = np.ones((224, 224))
    for count in (0, 1, 25_000, 224 * 224):
        assert highest(constant, count).sum() == count


def test_a_constant_map_points_nowhere_in_particular() -> None:
    row, column = highest_pixel(np.zeros((224, 224)))
    assert 0 < row < 223
    assert 0 < column < 223


def test_ciou_of_a_hand_worked_map() -> None:
    truth = np.zeros((4, 4), dtype=bool)
    truth[0] = True
    heat = np.arange(16, 0, -1, dtype=np.float32).reshape(4, 4)
    # upper half: 16 − 8 − 1 = 7 pixels, 4 of them true
    assert half_area_ciou(heat, truth) == pytest.approx(4 / 7)
    assert adaptive_ciou(heat, truth) == 1.0
    assert adaptive_ciou(-heat, truth) == 0.0


def test_ciou_counts_annotators_who_disagree_by_their_weight() -> None:
    predicted = np.array([[True, True, True, False]])
    truth = np.array([[1.0, 0.5, 0.0, 0.5]])
    assert consensus_iou(predicted, truth) == pytest.approx(1.5 / (2.0 + 1.0))


def test_success_rate_and_area_of_hand_worked_values() -> None:
    assert success_rate([0.5, 0.49, 1.0, 0.0]) == 0.5
    assert area_under_curve([1.0]) == pytest.approx(1.0)
    # 1 at threshold 0 only: one trapezoid from 1 to 0
    assert area_under_curve([0.0]) == pytest.approx(0.025)
    # rates are 1 up to 0.5 and 0 from 0.55 on
    assert area_under_curve([0.52]) == pytest.approx(0.5 + 0.025)


def test_iiou_needs_every_sound_of_an_image() -> None:
    cious = [0.6, 0.5, 0.9, 0.4, 0.9]
    assert interactive_iou(cious, ["a", "a", "b", "b", "alone"]) == 0.5
    assert interactive_iou(cious, [None] * 5) is None
    assert interactive_iou(cious, ["a", "b", "c", "d", "e"]) is None


def test_maps_are_resized_with_pixel_centres_aligned() -> None:
    resized = resize_map(np.array([[0.0, 1.0]]), (1, 4))
    assert resized.tolist() == [[0.0, 0.25, 0.75, 1.0]]
    assert resize_map(np.zeros((3, 2, 2)), 8).shape == (3, 8, 8)
    corners = resize_map(np.array([[0.0, 1.0]]), (1, 4), align_corners=True)
    assert corners[0].tolist() == pytest.approx([0.0, 1 / 3, 2 / 3, 1.0])


def test_a_map_that_is_the_truth_scores_full_marks_and_its_opposite_none() -> None:
    truth = draw_boxes([(0.0, 0.0, 0.5, 1.0)])
    right = truth.astype(np.float32)
    assert score_map(right, truth).pointing
    row = average([score_map(right, truth)] * 2, ["a", "a"])
    assert row["pointing"] == 1.0
    assert row["ciou_adap"] == 1.0
    assert row["iiou"] == 1.0
    wrong = average([score_map(-right, truth)], [None])
    assert wrong["pointing"] == 0.0
    assert wrong["ciou"] == 0.0
    assert wrong["iiou"] is None


def half_area_of_one(heat: npt.NDArray[np.float32], truths: list[Mask]) -> list[float]:
    """`half_area_ciou` of the same map with many truths, sorted once."""
    upper = highest(heat, heat.size - heat.size // 2 - 1)
    found = [consensus_iou(upper, truth) for truth in truths]
    assert found[:50] == [half_area_ciou(heat, truth) for truth in truths[:50]]
    return found


@pytest.mark.skipif("GAVT_CORPUS" not in os.environ, reason="GAVT_CORPUS names no folder with the VGG-SS list")
def test_predictors_without_ears_and_eyes_reach_the_known_figures_on_vgg_ss() -> None:
    path = Path(os.environ["GAVT_CORPUS"]) / "manifests" / "VGGSS" / "vggss.json"
    if not path.exists():
        pytest.skip(f"no VGG-SS list at {path}")
    truths = [draw_boxes(row["bbox"]) for row in json.loads(path.read_text())]
    assert len(truths) == 5158
    assert sum(not truth.any() for truth in truths) == 2  # two boxes have no area: failures
    disc = centre_disc(224)
    half = half_area_of_one(disc, truths)
    assert (round(100 * success_rate(half), 1), round(100 * area_under_curve(half), 1)) == (33.9, 37.4)
    mean = mean_box([np.sum(truths, axis=0, dtype=np.int32)], len(truths))
    half = half_area_of_one(mean, truths)
    assert (round(100 * success_rate(half), 1), round(100 * area_under_curve(half), 1)) == (34.5, 37.8)
    with ThreadPoolExecutor() as threads:
        adaptive = list(threads.map(lambda truth: adaptive_ciou(mean, truth), truths))
        oracle = list(threads.map(lambda truth: half_area_ciou(truth.astype(np.float32), truth), truths))
    assert (round(100 * success_rate(adaptive), 1), round(100 * area_under_curve(adaptive), 1)) == (44.4, 43.6)
    assert (round(100 * success_rate(oracle), 1), round(100 * area_under_curve(oracle), 1)) == (50.5, 49.5)
