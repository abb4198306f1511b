"""Choosing on the validation split, so that nothing is chosen on the split that is reported."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.evaluate.baselines.saliency import saliency
from pipeline.evaluate.baselines.simple_maps import mean_box
from pipeline.evaluate.metrics.ciou import SUCCESS, adaptive_ciou
from pipeline.evaluate.metrics.ground_truth import Mask
from pipeline.evaluate.metrics.pointing import points_at
from pipeline.evaluate.metrics.resize import Centres, Map, resize_seen
from pipeline.evaluate.readouts.build import build_readout, default_readout, placements, reasons_against
from pipeline.evaluate.readouts.integrated_gradients import Attribution, IntegratedGradientsReadout
from pipeline.evaluate.readouts.readout import Readout
from pipeline.evaluate.samples import Chunk, EvaluationBatch
from pipeline.evaluate.settings import EvaluateSettings, Placement, SaliencyName
from pipeline.tasks.task import System


@dataclass(frozen=True)
class Choice:
    """What the validation split decided.

    Attributes:
        readout: the one that localises best, by the mean of pointing accuracy and cIoU_adap: the highest value in the
            right place says little of the rest of a map.
        placement: of each candidate, where the values of its maps lie.
        saliency: the image saliency that points best.
        mean_box: mean of the validation split's boxes [S, S]; None where it has none.
        pointing: pointing accuracy on the validation split, for each candidate; empty where it has no boxes.
        localised: cIoU_adap there, for each readout; likewise.
        overlap: mean IoU there, where as much area is predicted as the truth has, for each candidate that may have
            several placements and each of them; likewise.
    """

    readout: str
    placement: Mapping[str, Placement]
    saliency: SaliencyName
    mean_box: Map | None
    pointing: Mapping[str, float]
    localised: Mapping[str, float]
    overlap: Mapping[str, Mapping[Placement, float]]


@dataclass(frozen=True)
class Hits:
    """What was found in a chunk of the validation split.

    Attributes:
        pointed: of each candidate, how many of its maps point at what sounds, by placement.
        localised: of each readout, how many of its maps have the cIoU_adap of a success, by placement.
        overlap: of each readout, by placement, its maps' IoU with the truth where as much area is predicted as the
            truth has, added up.
        boxes: int32 [S, S], how many of the truths cover each pixel; None without any.
        truths: how many there are.
    """

    pointed: Mapping[str, Mapping[Placement, int]]
    localised: Mapping[str, Mapping[Placement, int]]
    overlap: Mapping[str, Mapping[Placement, float]]
    boxes: npt.NDArray[np.int32] | None
    truths: int


class Chooser:
    """Which readout makes the row `model`. All measures of a model share one, so that a chunk of the validation split
    is looked at once for all of them.

    Attributes:
        reasons: why some of the settings' readouts can't be had, by name.
        readouts: those that can.
        candidates: those whose maps lie over the frame, one at least; with the placements that each may have, and where
            its values lie by them.
        choice: what was chosen; what is taken by default until `chosen` is told.

    Raises:
        SettingsError: the model has no readout whose maps lie over the frame.
    """

    def __init__(self, system: System, settings: EvaluateSettings) -> None:
        self._system, self._settings = system, settings
        self.reasons = reasons_against(settings.readouts, settings, system)
        self.readouts = [name for name in settings.readouts if name not in self.reasons]
        over_frame = [name for name in self.readouts if self.readout(name).points_into_frame]
        default = default_readout(settings, system)
        self._fallback = default if default in over_frame or not over_frame else over_frame[0]
        self.candidates = {
            name: placements(self.readout(name), system, settings) for name in over_frame or [self._fallback]
        }
        self.choice = choose([], self.candidates, self._fallback, settings)
        self._last: tuple[Chunk, Hits] | None = None

    def choose(self, chunk: Chunk) -> Hits:
        """How often readouts and saliencies point at what sounds in a chunk of the validation split."""
        if self._last is None or self._last[0] is not chunk:
            read = lambda name, batch: self.read(name, self._system, batch)[0]  # noqa: E731
            batches = [chunk.judged.select(places) for places in pieces(chunk.located, self._settings.batch_size)]
            self._last = chunk, count_hits(batches, self.candidates, self._settings, read)
        return self._last[1]

    def chosen(self, found: Sequence[Hits]) -> None:
        """Take what localises best in all chunks."""
        self.choice = choose(found, self.candidates, self._fallback, self._settings)
        self._last = None

    def readout(self, name: str) -> Readout:
        """The readout of that name."""
        return build_readout(name, self._settings)

    def centres(self, name: str) -> Centres | None:
        """Where the values of a candidate's maps were decided to lie."""
        return self.candidates[name][self.choice.placement[name]]

    def read(self, name: str, system: System, batch: EvaluationBatch) -> tuple[Map, Attribution | None]:
        """Maps [B, h, w] of a readout, and how well they add up where they are integrated gradients."""
        readout = self.readout(name)
        if isinstance(readout, IntegratedGradientsReadout):
            attribution = readout.attribute(system, batch.inputs)
            return attribution.maps.cpu().numpy(), attribution
        return readout(system, batch.inputs).cpu().numpy(), None


def pieces(places: list[int], size: int) -> list[list[int]]:
    """Places, at most `size` together."""
    return [places[start : start + size] for start in range(0, len(places), size)]


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
    localised: dict[str, dict[Placement, int]] = {name: dict.fromkeys(may, 0) for name, may in readouts.items()}
    overlap: dict[str, dict[Placement, float]] = {name: dict.fromkeys(may, 0.0) for name, may in readouts.items()}
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
                    if np.isfinite(heat).all():
                        found = adaptive_ciou(heat, truth)
                        overlap[name][placement] += found
                        localised[name][placement] += found >= SUCCESS
        for method in settings.saliency:
            salient = saliency(method, batch.middle.float() / 255).cpu().numpy()
            seen = zip(_seen(salient, batch, here, settings, None), here, strict=True)
            pointed[method]["even"] += sum(points_at(heat, truth) for heat, truth in seen)
    return Hits(pointed, localised, overlap, boxes, truths)


def choose(
    found: Sequence[Hits],
    readouts: Mapping[str, Mapping[Placement, Centres | None]],
    fallback: str,
    settings: EvaluateSettings,
) -> Choice:
    """Let the validation split choose a placement for each readout by its overlap with the truth, then a readout by the
    mean of pointing accuracy and cIoU_adap, and a saliency by pointing accuracy; of equals the first named.

    Args:
        found: in all of it; nothing without a validation split.
        readouts: as of `count_hits`.
        fallback: the readout where there are no boxes. The saliency and the placements are the first then.
    """
    truths = sum(hits.truths for hits in found)
    placement = {name: next(iter(may)) for name, may in readouts.items()}
    if not truths:
        return Choice(fallback, placement, settings.saliency[0], None, {}, {}, {})
    overlap: dict[str, dict[Placement, float]] = {
        name: {where: sum(hits.overlap[name][where] for hits in found) / truths for where in may}
        for name, may in readouts.items()
        if len(may) > 1
    }
    placement |= {name: max(by, key=by.__getitem__) for name, by in overlap.items()}
    placed: dict[str, Placement] = {**placement, **dict.fromkeys(settings.saliency, "even")}
    pointing = {name: sum(hits.pointed[name][where] for hits in found) / truths for name, where in placed.items()}
    localised = {name: sum(hits.localised[name][placement[name]] for hits in found) / truths for name in readouts}
    return Choice(
        readout=max(readouts, key=lambda name: pointing[name] + localised[name], default=fallback),
        placement=placement,
        saliency=max(settings.saliency, key=lambda name: pointing[name]),
        mean_box=mean_box([hits.boxes for hits in found if hits.boxes is not None], truths),
        pointing=pointing,
        localised=localised,
        overlap=overlap,
    )


def _seen(
    maps: Map, batch: EvaluationBatch, truths: Sequence[Mask], settings: EvaluateSettings, centres: Centres | None
) -> Iterator[Map]:
    """Maps as they are judged."""
    for heat, square, truth in zip(maps, batch.squares, truths, strict=True):
        yield resize_seen(heat, square, len(truth), settings.align_corners, centres)
