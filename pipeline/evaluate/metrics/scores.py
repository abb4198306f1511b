"""All measures of one way to make maps: a row of the evaluation's table."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from pipeline.evaluate.metrics.ciou import adaptive_ciou, area_under_curve, half_area_ciou, success_rate
from pipeline.evaluate.metrics.ground_truth import Mask
from pipeline.evaluate.metrics.iiou import interactive_iou
from pipeline.evaluate.metrics.pointing import points_at
from pipeline.evaluate.metrics.resize import resize_map


class Row(TypedDict):
    """One row of `evaluation.json`; null where the data can't tell.

    `pointing` is the share of maps whose maximum lies on what sounds; `ciou`, `auc` take the upper half of the area
    as predicted, `ciou_adap` as much area as the truth has; `iiou`, `iiou_adap` are those two over all sounds of an
    image. `not_finite` counts the maps with NaN or infinite values, each of them a failure in all figures.
    """

    name: str
    pointing: float | None
    ciou: float | None
    auc: float | None
    ciou_adap: float | None
    iiou: float | None
    iiou_adap: float | None
    not_finite: int


@dataclass(frozen=True)
class SampleScore:
    """What one map scores on its sample."""

    pointing: bool
    ciou: float
    ciou_adap: float
    finite: bool = True


def score_map(heat: npt.NDArray[np.floating], truth: Mask, align_corners: bool = False) -> SampleScore:
    """Judge one map [h, w] at the size of its truth [S, S]. A failure in all respects: a map that is not finite, and
    any map of a truth that is empty."""
    if not np.isfinite(heat).all():
        return SampleScore(pointing=False, ciou=0.0, ciou_adap=0.0, finite=False)
    resized = heat if heat.shape == truth.shape else resize_map(heat, (truth.shape[0], truth.shape[1]), align_corners)
    return SampleScore(points_at(resized, truth), half_area_ciou(resized, truth), adaptive_ciou(resized, truth))


def empty_row(name: str) -> Row:
    """A row without figures."""
    return Row(name=name, pointing=None, ciou=None, auc=None, ciou_adap=None, iiou=None, iiou_adap=None, not_finite=0)


def score_row(
    name: str,
    maps: Iterable[npt.NDArray[np.floating]],
    truths: Iterable[Mask],
    groups: Sequence[str | None],
) -> Row:
    """Judge a map a sample and average.

    Args:
        name: name of the row.
        maps: [h, w] each; taken one at a time, resized bilinearly to the truth's size.
        truths: [S, S] each.
        groups: for `iiou`, the image that samples share.
    """
    return average(name, [score_map(heat, truth) for heat, truth in zip(maps, truths, strict=True)], groups)


def average(name: str, scores: Sequence[SampleScore], groups: Sequence[str | None]) -> Row:
    """The row of a map's scores, one a sample; without figures where there are no samples."""
    if not scores:
        return empty_row(name)
    cious = [score.ciou for score in scores]
    adaptive = [score.ciou_adap for score in scores]
    return Row(
        name=name,
        pointing=float(np.mean([score.pointing for score in scores])),
        ciou=success_rate(cious),
        auc=area_under_curve(cious),
        ciou_adap=success_rate(adaptive),
        iiou=interactive_iou(cious, groups),
        iiou_adap=interactive_iou(adaptive, groups),
        not_finite=sum(not score.finite for score in scores),
    )
