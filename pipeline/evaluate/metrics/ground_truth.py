"""Boxes of what sounds, as a mask on the square of the map."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline.samples.metadata import Box

Mask = npt.NDArray[np.bool_]
PixelBox = tuple[int, int, int, int]
"""Corners x1, y1, x2, y2; the last row and column are no longer in it."""


def crop_boxes(boxes: Sequence[Box], square: Box) -> list[Box]:
    """Boxes of the upright image, in 0–1 of the square that the model sees; those outside it or without area fall away.

    Args:
        boxes: `[x1, y1, x2, y2]` in 0–1 of the upright image.
        square: where the square lies, in the same units; beyond 0–1 where it has bars.
    """
    left, top, right, bottom = square
    width, height = right - left, bottom - top
    moved = (
        ((x1 - left) / width, (y1 - top) / height, (x2 - left) / width, (y2 - top) / height) for x1, y1, x2, y2 in boxes
    )
    clipped = ((max(x1, 0.0), max(y1, 0.0), min(x2, 1.0), min(y2, 1.0)) for x1, y1, x2, y2 in moved)
    return [box for box in clipped if box[0] < box[2] and box[1] < box[3]]


def draw_boxes(boxes: Sequence[Box], size: int = 224) -> Mask:
    """The union of the boxes as a mask [size, size], drawn as VGG-SS draws it: corners at `int(size * max(v, 0))`."""
    return draw_pixels([in_pixels(box, size) for box in boxes], (size, size))


def in_pixels(box: Box, size: int) -> PixelBox:
    """A box in 0–1 in pixels, as VGG-SS draws it."""
    x1, y1, x2, y2 = (int(size * max(value, 0.0)) for value in box)
    return x1, y1, x2, y2


def draw_pixels(boxes: Sequence[PixelBox], shape: tuple[int, int]) -> Mask:
    """The union of boxes in pixels as a mask [h, w]."""
    mask = np.zeros(shape, dtype=np.bool_)
    for x1, y1, x2, y2 in boxes:
        mask[y1:y2, x1:x2] = True
    return mask
