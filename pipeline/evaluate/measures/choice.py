"""Choosing on the validation split, so that nothing is chosen on the split that is reported."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.evaluate.baselines.saliency import saliency
from pipeline.evaluate.baselines.simple_maps import mean_box
from pipeline.evaluate.metrics.ground_truth import Mask
from pipeline.evaluate.metrics.pointing import points_at
from pipeline.evaluate.metrics.resize import Map, resize_seen
from pipeline.evaluate.samples import EvaluationBatch
from pipeline.evaluate.settings import EvaluateSettings, SaliencyName
from pipeline.samples.metadata import Box


@dataclass(frozen=True)
class Choice:
    """What the validation split decided.

    Attributes:
        readout: the one that points best.
        saliency: the image saliency that points best.
        mean_box: mean of the validation split's boxes [S, S]; None where it has none.
        pointing: pointing accuracy on the validation split, for each candidate; empty where it has no boxes.
    """

    readout: str
    saliency: SaliencyName
    mean_box: Map | None
    pointing: Mapping[str, float]


@dataclass(frozen=True)
class Hits:
    """What was found in a chunk of the validation split.

    Attributes:
        pointed: of each candidate, how many of its maps point at what sounds.
        boxes: int32 [S, S], how many of the truths cover each pixel; None without any.
        truths: how many there are.
    """

    pointed: Mapping[str, int]
    boxes: npt.NDArray[np.int32] | None
    truths: int


def count_hits(
    batches: Sequence[EvaluationBatch],
    readouts: Sequence[str],
    settings: EvaluateSettings,
    read: Callable[[str, EvaluationBatch], Map],
) -> Hits:
    """How often readouts and saliencies point at what sounds, in batches of located samples.

    Args:
        read: makes the maps [B, h, w] of a readout.
    """
    pointed = dict.fromkeys((*readouts, *settings.saliency), 0)
    boxes: npt.NDArray[np.int32] | None = None
    truths = 0
    for batch in batches:
        here = [truth for truth in batch.truths if truth is not None]
        covered: npt.NDArray[np.int32] = np.stack(here).sum(axis=0, dtype=np.int32)
        boxes = covered if boxes is None else boxes + covered
        truths += len(here)
        for name in readouts:
            pointed[name] += _hits(read(name, batch), batch.squares, here, settings.align_corners)
        for method in settings.saliency:
            salient = saliency(method, batch.middle.float() / 255).cpu().numpy()
            pointed[method] += _hits(salient, batch.squares, here, settings.align_corners)
    return Hits(pointed, boxes, truths)


def choose(found: Sequence[Hits], readouts: Sequence[str], fallback: str, settings: EvaluateSettings) -> Choice:
    """Let the validation split choose a readout and a saliency by pointing accuracy; of equals the first named.

    Args:
        found: in all of it; nothing without a validation split.
        fallback: the readout where there are no boxes. The saliency is the first then.
    """
    truths = sum(hits.truths for hits in found)
    if not truths:
        return Choice(fallback, settings.saliency[0], None, {})
    names = (*readouts, *settings.saliency)
    pointing = {name: sum(hits.pointed[name] for hits in found) / truths for name in names}
    return Choice(
        readout=max(readouts, key=lambda name: pointing[name], default=fallback),
        saliency=max(settings.saliency, key=lambda name: pointing[name]),
        mean_box=mean_box([hits.boxes for hits in found if hits.boxes is not None], truths),
        pointing=pointing,
    )


def _hits(maps: Map, squares: Sequence[Box], truths: Sequence[Mask], align_corners: bool) -> int:
    return sum(
        points_at(resize_seen(heat, square, len(truth), align_corners), truth)
        for heat, square, truth in zip(maps, squares, truths, strict=True)
    )
