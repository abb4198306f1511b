"""Maps at the size at which they are judged, and where in the frame their values lie."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from pipeline.samples.metadata import Box

Map = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Centres:
    """Where the values of a map [h, w] lie, in 0–1 of the height and width of what it is over.

    Attributes:
        rows, columns: h and w places, rising; outside 0–1 where a value is of what is padded.
    """

    rows: tuple[float, ...]
    columns: tuple[float, ...]

    @classmethod
    def even(cls, height: int, width: int) -> "Centres":
        """Of even cells, which fill all."""
        rows, columns = ((np.arange(cells) + 0.5) / cells for cells in (height, width))
        return cls(tuple(rows.tolist()), tuple(columns.tolist()))

    @property
    def are_even(self) -> bool:
        """Whether they are those of even cells, up to rounding."""
        even = Centres.even(len(self.rows), len(self.columns))
        pairs = zip((*self.rows, *self.columns), (*even.rows, *even.columns), strict=True)
        return all(abs(own - other) < 1e-9 for own, other in pairs)


def resize_map(
    heat: npt.NDArray[np.floating],
    size: int | tuple[int, int],
    align_corners: bool = False,
    centres: Centres | None = None,
) -> Map:
    """A map [h, w], or several [B, h, w], resized bilinearly to [..., size, size].

    Args:
        size: two numbers are height and width.
        align_corners: the centres of the corner cells come to lie on the corner pixels, which stretches the map a
            little over its frame; else each cell stays where it is.
        centres: where the values lie; the map is what lies between them, and goes on as it is beside the outermost.
            They are those of even cells unless given; with them corners are where they are.
    """
    target = (size, size) if isinstance(size, int) else size
    if centres is not None:
        height, width = (_between(one, to) for one, to in zip((centres.rows, centres.columns), target, strict=True))
        placed: Map = height @ np.asarray(heat, dtype=np.float32) @ width.T
        return placed
    batch = torch.from_numpy(np.array(heat, dtype=np.float32))
    flat = batch.reshape(-1, 1, *batch.shape[-2:])
    resized: Map = functional.interpolate(flat, size=target, mode="bilinear", align_corners=align_corners).numpy()
    return resized.reshape(*batch.shape[:-2], *target)


@lru_cache(maxsize=64)
def _between(centres: tuple[float, ...], size: int) -> Map:
    """[size, values]: by how much each of the values at these places makes up what lies at each of `size` pixels."""
    known, pixels = np.array(centres), (np.arange(size) + 0.5) / size
    weights = np.zeros((size, len(known)), dtype=np.float32)
    if len(known) == 1:
        weights[:] = 1
        return weights
    after = np.searchsorted(known, pixels).clip(1, len(known) - 1)
    share = ((pixels - known[after - 1]) / (known[after] - known[after - 1])).clip(0, 1)
    weights[np.arange(size), after - 1], weights[np.arange(size), after] = 1 - share, share
    return weights


def resize_seen(
    heat: npt.NDArray[np.floating],
    square: Box,
    size: int,
    align_corners: bool = False,
    centres: Centres | None = None,
) -> Map:
    """What of a map [h, w] over a square lies over the frame itself, resized to [size, size]: all of it but what lies
    over bars.

    Args:
        square: where the square lies in the frame, `[x1, y1, x2, y2]` in 0–1 of it; beyond where bars are.
        align_corners, centres: as of `resize_map`; in 0–1 of the square.
    """
    left, top, right, bottom = square
    width, height = min(right, 1.0) - max(left, 0.0), min(bottom, 1.0) - max(top, 0.0)
    rows, columns = round(size * (bottom - top) / height), round(size * (right - left) / width)
    first_row, first_column = round(size * max(-top, 0.0) / height), round(size * max(-left, 0.0) / width)
    whole = resize_map(heat, (rows, columns), align_corners, centres)
    return whole[first_row : first_row + size, first_column : first_column + size]
