"""All figures of one way to make maps: a row of the table of localisation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from pipeline.evaluate.metrics.ciou import SUCCESS, Overlap, area_under_curve, areas_of_each, success_rate
from pipeline.evaluate.metrics.ground_truth import Mask
from pipeline.evaluate.metrics.iiou import interactive_iou, localised_images


class Figures(TypedDict):
    """The figures of a row; None where the data can't tell.

    `pointing` is the share of maps whose maximum lies on what sounds; `ciou`, `auc` take the upper half of the area
    as predicted, `ciou_adap` as much area as the truth has; `iiou`, `iiou_adap` are those two over all sounds of an
    image. `not_finite` counts the maps with NaN or infinite values, each of them a failure in all figures.
    """

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


def score_map(heat: npt.NDArray[np.floating], truth: Mask) -> SampleScore:
    """Judge one map by its truth, [S, S] both. A failure in all respects: a map that is not finite, and any map of a
    truth that is empty."""
    if not np.isfinite(heat).all():
        return SampleScore(pointing=False, ciou=0.0, ciou_adap=0.0, finite=False)
    overlap = Overlap(heat, truth)
    cuts = overlap.ranking.cuts([1, overlap.half, overlap.area])
    _, half, adaptive = overlap.cious(cuts).tolist()
    return SampleScore(bool(overlap.inside[cuts.pixels[0]]), half, adaptive)


def average(scores: Sequence[SampleScore], groups: Sequence[str | None]) -> Figures:
    """The figures of a map's scores, one a sample; none where there are no samples."""
    if not scores:
        return Figures(pointing=None, ciou=None, auc=None, ciou_adap=None, iiou=None, iiou_adap=None, not_finite=0)
    cious = [score.ciou for score in scores]
    adaptive = [score.ciou_adap for score in scores]
    return Figures(
        pointing=float(np.mean([score.pointing for score in scores])),
        ciou=success_rate(cious),
        auc=area_under_curve(cious),
        ciou_adap=success_rate(adaptive),
        iiou=interactive_iou(cious, groups),
        iiou_adap=interactive_iou(adaptive, groups),
        not_finite=sum(not score.finite for score in scores),
    )


def sample_figures(scores: Sequence[SampleScore], groups: Sequence[str | None]) -> dict[str, npt.NDArray[np.float64]]:
    """Of each figure what samples give to it [N], whose mean it is; of IIoU images, see `localised_images`."""
    cious, adaptive = ([getattr(one, name) for one in scores] for name in ("ciou", "ciou_adap"))
    return {
        "pointing": np.array([one.pointing for one in scores], np.float64),
        "ciou": (np.array(cious) >= SUCCESS).astype(np.float64),
        "auc": areas_of_each(cious),
        "ciou_adap": (np.array(adaptive) >= SUCCESS).astype(np.float64),
        "iiou": localised_images(cious, groups),
        "iiou_adap": localised_images(adaptive, groups),
    }
