"""Maps over a picture that hear nothing, judged as a model's maps are."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from pipeline.evaluate.baselines.saliency import saliency
from pipeline.evaluate.baselines.simple_maps import centre_disc, oracle_map
from pipeline.evaluate.measures.contract import Column, Row, RowKind
from pipeline.evaluate.metrics.ground_truth import Mask, draw_boxes
from pipeline.evaluate.metrics.resize import Map, resize_map
from pipeline.evaluate.metrics.scores import SampleScore, average, score_map
from pipeline.evaluate.settings import SaliencyName
from pipeline.samples.metadata import Box
from pipeline.video.clip import Pixels

SALIENCIES: tuple[SaliencyName, ...] = ("spectral_residual", "frequency_tuned", "centre_surround")
COLUMNS = (Column("pointing", "pointing"), Column("ciou_adap", "cIoU_adap"), Column("iiou_adap", "IIoU_adap"))
_GRID = (8, 8)


@dataclass
class MapScores:
    """What rows of maps reach, sample by sample."""

    groups: list[str | None] = field(default_factory=list)
    _of: dict[str, list[SampleScore]] = field(default_factory=dict)
    _kinds: dict[str, RowKind] = field(default_factory=dict)

    def add(self, name: str, heat: npt.NDArray[np.floating], truth: Mask, kind: RowKind = "control") -> None:
        """Judge a row's map [S, S] of the next sample."""
        self._of.setdefault(name, []).append(score_map(heat, truth))
        self._kinds[name] = kind

    def add_common(self, frame: Pixels, truth: Mask, random: np.random.Generator) -> None:
        """Judge what any world is checked by: any place, the centre, saliencies, and the ceiling of 8×8 cells."""
        size = len(truth)
        self.add("any place", random.random((size, size)), truth)
        self.add("centre", centre_disc(size), truth)
        pixels = torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 255
        for name in SALIENCIES:
            found = saliency(name, pixels).numpy()
            self.add(f"saliency, {name.replace('_', ' ')}", resize_map(found, size)[0], truth)
        self.add("truth in 8 × 8 cells", resize_map(oracle_map(truth, _GRID), size), truth, "ceiling")

    def rows(self) -> tuple[Row, ...]:
        """The rows, controls first."""
        order: list[RowKind] = ["control", "other", "ceiling"]
        names = sorted(self._of, key=lambda name: order.index(self._kinds[name]))
        return tuple(Row(name, self._kinds[name], self._values(name)) for name in names)

    def _values(self, name: str) -> dict[str, float | None]:
        figures = average(self._of[name], self.groups)
        return {"pointing": figures["pointing"], "ciou_adap": figures["ciou_adap"], "iiou_adap": figures["iiou_adap"]}


def mask_of(boxes: Sequence[Box], size: int) -> Mask:
    """The union of boxes [size, size]."""
    return draw_boxes(boxes, size)


def mean_mask(boxes: Sequence[Sequence[Box]], size: int) -> Map:
    """Where boxes lie elsewhere: the mean of their masks [size, size]."""
    masks = [draw_boxes(some, size) for some in boxes]
    return np.mean(masks, axis=0, dtype=np.float32) if masks else np.zeros((size, size), np.float32)


def best_of(boxes: Sequence[Box], scores: Sequence[float], size: int) -> Map:
    """A map [size, size] of one of several boxes, that of the highest score."""
    heat: Map = draw_boxes([boxes[int(np.argmax(scores))]], size).astype(np.float32)
    return heat
