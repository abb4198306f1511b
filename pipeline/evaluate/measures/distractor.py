"""Silent things that are pasted into frames: what another sample's box shows, beside what sounds."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.nn import functional

from pipeline.evaluate.metrics.ground_truth import crop_boxes
from pipeline.evaluate.samples import EvaluationBatch
from pipeline.samples.metadata import Box

_SIZES = (1.0, 0.7, 0.5)
"""Of what it is in its own frame: the first at which there is room for it."""
_LEAST = 3
"""Pixels a side, below which there is nothing to be seen."""
_WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class Pasted:
    """Frames with a distractor.

    Attributes:
        frames: [T, 3, K, K] in 0–1.
        box: where the distractor lies, `[x1, y1, x2, y2]` in 0–1 of the upright frame.
    """

    frames: Tensor
    box: Box


def paste_distractor(batch: EvaluationBatch, place: int, other: int, generator: np.random.Generator) -> Pasted | None:
    """The frames of a sample with what the first box of another shows, where it covers nothing that sounds, is no bar,
    and has room; None where there is none, or the other has no such box.

    Args:
        generator: draws the place among all that are possible.
    """
    own, theirs = batch.inputs["frames"][place], batch.inputs["frames"][other]
    side = own.shape[-1]
    boxes = crop_boxes(batch.metadata[other].boxes or [], batch.squares[other])
    if not boxes:
        return None
    x1, y1, x2, y2 = _pixels(boxes[0], side)
    if min(x2 - x1, y2 - y1) < _LEAST:
        return None
    thing = theirs[..., y1:y2, x1:x2]
    free = _free(batch, place, side)
    for size in _SIZES:
        height, width = (max(_LEAST, round(size * length)) for length in thing.shape[-2:])
        corners = _corners(free, height, width)
        if not len(corners):
            continue
        row, column = corners[generator.integers(len(corners))].tolist()
        frames = own.clone()
        small = functional.interpolate(thing, size=(height, width), mode="bilinear", antialias=True)
        frames[..., row : row + height, column : column + width] = small
        x, y, right, bottom = batch.squares[place]
        across, down = (right - x) / side, (bottom - y) / side
        box = (x + column * across, y + row * down, x + (column + width) * across, y + (row + height) * down)
        return Pasted(frames, box)
    return None


def _free(batch: EvaluationBatch, place: int, side: int) -> npt.NDArray[np.bool_]:
    """[K, K] where of a sample's square there is frame, and nothing that sounds."""
    free = np.zeros((side, side), dtype=np.bool_)
    for box, there in [(_WHOLE, True), *((box, False) for box in batch.metadata[place].boxes or [])]:
        for left, top, right, bottom in (_pixels(one, side) for one in crop_boxes([box], batch.squares[place])):
            free[top:bottom, left:right] = there
    return free


def _pixels(box: Box, side: int) -> tuple[int, int, int, int]:
    """All pixels that a box touches."""
    left, top, right, bottom = box
    return int(left * side), int(top * side), int(np.ceil(right * side)), int(np.ceil(bottom * side))


def _corners(free: npt.NDArray[np.bool_], height: int, width: int) -> npt.NDArray[np.intp]:
    """[n, 2] rows and columns at which so large a thing lies on nothing but free pixels."""
    if height > free.shape[0] or width > free.shape[1]:
        return np.empty((0, 2), dtype=np.intp)
    summed = np.pad(np.cumsum(np.cumsum(~free, axis=0), axis=1), ((1, 0), (1, 0)))
    taken = summed[height:, width:] - summed[:-height, width:] - summed[height:, :-width] + summed[:-height, :-width]
    return np.argwhere(taken == 0)
