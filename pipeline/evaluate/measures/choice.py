"""Choosing on the validation split, so that nothing is chosen on the split that is reported."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.evaluate.baselines.saliency import saliency
from pipeline.evaluate.baselines.simple_maps import mean_box
from pipeline.evaluate.metrics.ciou import adaptive_ciou
from pipeline.evaluate.metrics.ground_truth import Mask
from pipeline.evaluate.metrics.pointing import points_at
from pipeline.evaluate.metrics.resize import Centres, Map, resize_seen
from pipeline.evaluate.samples import EvaluationBatch
from pipeline.evaluate.settings import EvaluateSettings, Placement, SaliencyName


@dataclass(frozen=True)
class Choice:
    """What the validation split decided.

    Attributes:
        readout: the one that points best.
        placement: of each candidate, where the values of its maps lie.
        saliency: the image saliency that points best.
        mean_box: mean of the validation split's boxes [S, S]; None where it has none.
        pointing: pointing accuracy on the validation split, for each candidate; empty where it has no boxes.
        overlap: mean IoU there, where as much area is predicted as the truth has, for each candidate that may have
            several placements and each of them; likewise.
    """

    readout: str
    placement: Mapping[str, Placement]
    saliency: SaliencyName
    mean_box: Map | None
    pointing: Mapping[str, float]
    overlap: Mapping[str, Mapping[Placement, float]]


@dataclass(frozen=True)
class Hits:
    """What was found in a chunk of the validation split.

    Attributes:
        pointed: of each candidate, how many of its maps point at what sounds, by placement.
        overlap: of each readout with several placements, by placement, its maps' IoU with the truth where as much area
            is predicted as the truth has, added up.
        boxes: int32 [S, S], how many of the truths cover each pixel; None without any.
        truths: how many there are.
    """

    pointed: Mapping[str, Mapping[Placement, int]]
    overlap: Mapping[str, Mapping[Placement, float]]
    boxes: npt.NDArray[np.int32] | None
    truths: int


def count_hits(
    batches: Sequence[EvaluationBatch],
    readouts: Mapping[str, Mapping[Placement, Centres | None]],
    settings: EvaluateSettings,
    read: Callable[[str, EvaluationBatch], Map],
) -> Hits:
    """How well maps of readouts and saliencies agree with the truth, in batches of located samples.

    Args:
        readouts: the placements that each may have, and where its values lie by them.
        read: makes the maps [B, h, w] of a readout.
    """
    pointed: dict[str, dict[Placement, int]] = {name: dict.fromkeys(may, 0) for name, may in readouts.items()}
    pointed |= {name: {"even": 0} for name in settings.saliency}
    several = {name: may for name, may in readouts.items() if len(may) > 1}
    overlap: dict[str, dict[Placement, float]] = {name: dict.fromkeys(may, 0.0) for name, may in several.items()}
    boxes: npt.NDArray[np.int32] | None = None
    truths = 0
    for batch in batches:
        here = [truth for truth in batch.truths if truth is not None]
        covered: npt.NDArray[np.int32] = np.stack(here).sum(axis=0, dtype=np.int32)
        boxes = covered if boxes is None else boxes + covered
        truths += len(here)
        for name, may in readouts.items():
            maps = read(name, batch)
            for placement, centres in may.items():
                for heat, truth in zip(_seen(maps, batch, here, settings, centres), here, strict=True):
                    pointed[name][placement] += points_at(heat, truth)
                    if name in several and np.isfinite(heat).all():
                        overlap[name][placement] += adaptive_ciou(heat, truth)
        for method in settings.saliency:
            salient = saliency(method, batch.middle.float() / 255).cpu().numpy()
            seen = zip(_seen(salient, batch, here, settings, None), here, strict=True)
            pointed[method]["even"] += sum(points_at(heat, truth) for heat, truth in seen)
    return Hits(pointed, overlap, boxes, truths)


def choose(
    found: Sequence[Hits],
    readouts: Mapping[str, Mapping[Placement, Centres | None]],
    fallback: str,
    settings: EvaluateSettings,
) -> Choice:
    """Let the validation split choose a placement for each readout by its overlap with the truth, then a readout and a
    saliency by pointing accuracy; of equals the first named.

    Args:
        found: in all of it; nothing without a validation split.
        readouts: as of `count_hits`.
        fallback: the readout where there are no boxes. The saliency and the placements are the first then.
    """
    truths = sum(hits.truths for hits in found)
    placement = {name: next(iter(may)) for name, may in readouts.items()}
    if not truths:
        return Choice(fallback, placement, settings.saliency[0], None, {}, {})
    overlap: dict[str, dict[Placement, float]] = {
        name: {where: sum(hits.overlap[name][where] for hits in found) / truths for where in may}
        for name, may in readouts.items()
        if len(may) > 1
    }
    placement |= {name: max(by, key=by.__getitem__) for name, by in overlap.items()}
    placed: dict[str, Placement] = {**placement, **dict.fromkeys(settings.saliency, "even")}
    pointing = {name: sum(hits.pointed[name][where] for hits in found) / truths for name, where in placed.items()}
    return Choice(
        readout=max(readouts, key=lambda name: pointing[name], default=fallback),
        placement=placement,
        saliency=max(settings.saliency, key=lambda name: pointing[name]),
        mean_box=mean_box([hits.boxes for hits in found if hits.boxes is not None], truths),
        pointing=pointing,
        overlap=overlap,
    )


def _seen(
    maps: Map, batch: EvaluationBatch, truths: Sequence[Mask], settings: EvaluateSettings, centres: Centres | None
) -> Iterator[Map]:
    """Maps as they are judged."""
    for heat, square, truth in zip(maps, batch.squares, truths, strict=True):
        yield resize_seen(heat, square, len(truth), settings.align_corners, centres)
