"""Maps at the size at which they are judged."""

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from pipeline.samples.metadata import Box

Map = npt.NDArray[np.float32]


def resize_map(heat: npt.NDArray[np.floating], size: int | tuple[int, int], align_corners: bool = False) -> Map:
    """A map [h, w], or several [B, h, w], resized bilinearly to [..., size, size].

    Args:
        size: two numbers are height and width.
        align_corners: the centres of the corner cells come to lie on the corner pixels, which stretches the map a
            little over its frame; else each cell stays where it is.
    """
    batch = torch.from_numpy(np.array(heat, dtype=np.float32))
    flat = batch.reshape(-1, 1, *batch.shape[-2:])
    target = (size, size) if isinstance(size, int) else size
    resized: Map = functional.interpolate(flat, size=target, mode="bilinear", align_corners=align_corners).numpy()
    return resized.reshape(*batch.shape[:-2], *target)


def resize_seen(heat: npt.NDArray[np.floating], square: Box, size: int, align_corners: bool = False) -> Map:
    """What of a map [h, w] over a square lies over the frame itself, resized to [size, size]: all of it but what lies
    over bars.

    Args:
        square: where the square lies in the frame, `[x1, y1, x2, y2]` in 0–1 of it; beyond where bars are.
    """
    left, top, right, bottom = square
    width, height = min(right, 1.0) - max(left, 0.0), min(bottom, 1.0) - max(top, 0.0)
    rows, columns = round(size * (bottom - top) / height), round(size * (right - left) / width)
    first_row, first_column = round(size * max(-top, 0.0) / height), round(size * max(-left, 0.0) / width)
    whole = resize_map(heat, (rows, columns), align_corners)
    return whole[first_row : first_row + size, first_column : first_column + size]
