"""Choosing on the validation split, so that nothing is chosen on the split that is reported."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.evaluate.baselines.mean_box import mean_box
from pipeline.evaluate.baselines.saliency import saliency
from pipeline.evaluate.metrics.ground_truth import Mask
from pipeline.evaluate.metrics.pointing import points_at
from pipeline.evaluate.metrics.resize import Map, resize_seen
from pipeline.evaluate.readouts.build import DEFAULT_READOUT, build_readout, points_into_frame
from pipeline.evaluate.samples import EvaluationSamples
from pipeline.evaluate.settings import EvaluateSettings, ReadoutName, SaliencyName
from pipeline.samples.metadata import Box
from pipeline.tasks.task import System


@dataclass(frozen=True)
class Choice:
    """What the validation split decided.

    Attributes:
        readout: the one that points best.
        saliency: the image saliency that points best.
        mean_box: mean of the validation split's boxes [S, S]; None where it has none.
        pointing: pointing accuracy on the validation split, for each candidate; empty where it has no boxes.
    """

    readout: ReadoutName
    saliency: SaliencyName
    mean_box: Map | None
    pointing: Mapping[str, float]


def choose(
    system: System,
    samples: EvaluationSamples | None,
    settings: EvaluateSettings,
    advance: Callable[[int], None],
) -> Choice:
    """Let the validation split choose a readout and a saliency by pointing accuracy; of equals the first named.

    Without a validation split, or without boxes in it, the readout is the gradient-weighted one where it is among the
    settings', and the saliency the first.
    """
    candidates = [name for name in settings.readouts if points_into_frame(name, settings)]
    fallback = DEFAULT_READOUT if DEFAULT_READOUT in candidates or not candidates else candidates[0]
    if samples is None:
        return Choice(fallback, settings.saliency[0], None, {})
    hits: dict[str, list[bool]] = {name: [] for name in (*candidates, *settings.saliency)}
    truths: list[Mask] = []
    for batch in samples.batches(settings.batch_size):
        located = [place for place, truth in enumerate(batch.truths) if truth is not None]
        advance(len(batch.keys))
        if not located:
            continue
        batch = batch.select(located)
        here = [truth for truth in batch.truths if truth is not None]
        truths.extend(here)
        for name in candidates:
            maps = build_readout(name, settings)(system, batch.inputs)
            hits[name].extend(_hits(maps.cpu().numpy(), batch.squares, here, settings.align_corners))
        for method in settings.saliency:
            salient = saliency(method, batch.middle.float() / 255).cpu().numpy()
            hits[method].extend(_hits(salient, batch.squares, here, settings.align_corners))
    if not truths:
        return Choice(fallback, settings.saliency[0], None, {})
    pointing = {name: float(np.mean(values)) for name, values in hits.items()}
    return Choice(
        readout=max(candidates, key=lambda name: pointing[name], default=fallback),
        saliency=max(settings.saliency, key=lambda name: pointing[name]),
        mean_box=mean_box(truths),
        pointing=pointing,
    )


def _hits(maps: Map, squares: Sequence[Box], truths: Sequence[Mask], align_corners: bool) -> list[bool]:
    return [
        points_at(resize_seen(heat, square, len(truth), align_corners), truth)
        for heat, square, truth in zip(maps, squares, truths, strict=True)
    ]
