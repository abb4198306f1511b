"""Heat laid over a frame."""

from functools import cache

import numpy as np
import numpy.typing as npt

from pipeline.evaluate.metrics.resize import Centres, Map, resize_map
from pipeline.evaluate.overlay.video_stream import Pixels
from pipeline.samples.metadata import Box

STRONGEST = 0.65
"""Opacity of the hottest place."""
_BORDER = 0.35
"""Opacity of the line around the part that the model sees."""


def lay_heat(pixels: Pixels, heat: Map, square: Box, strength: float = 1.0, centres: Centres | None = None) -> Pixels:
    """Lay a map over a frame.

    Args:
        pixels: RGB [H, W, 3].
        heat: [h, w] in 0–1; 0 lets the frame through.
        square: where in the frame the map lies, `[x1, y1, x2, y2]` in 0–1; it gets a thin light border where the frame
            is larger. What lies beyond the frame is left out.
        strength: 0–1, opacity of everything.
        centres: where the map's values lie in the square; evenly unless given.
    """
    height, width = pixels.shape[:2]
    left, right = round(square[0] * width), round(square[2] * width)
    top, bottom = round(square[1] * height), round(square[3] * height)
    whole = resize_map(heat, (bottom - top, right - left), centres=centres)
    inside = whole[max(-top, 0) : height - top, max(-left, 0) : width - left]
    level = (inside.clip(0, 1) * 255).astype(np.uint8)
    # in whole 256ths: 255 · 256 still fits into uint16, and tables are several times faster than floats
    opacity = np.arange(256, dtype=np.float32) / 255 * (STRONGEST * strength)
    kept = np.rint((1 - opacity) * 256).astype(np.uint16)
    added = np.floor(heat_colours() * (opacity * 256)[:, None]).astype(np.uint16)
    drawn: Pixels = pixels.copy()
    part = drawn[max(top, 0) : bottom, max(left, 0) : right]
    part[:] = (part * np.take(kept, level)[..., None] + np.take(added, level, axis=0)) >> 8
    _draw_border(drawn, left, top, right, bottom)
    return drawn


def _draw_border(pixels: Pixels, left: int, top: int, right: int, bottom: int) -> None:
    height, width = pixels.shape[:2]
    lines = []
    if left > 0 or right < width:
        lines += [(slice(top, bottom), slice(left, left + 1)), (slice(top, bottom), slice(right - 1, right))]
    if top > 0 or bottom < height:
        lines += [(slice(top, top + 1), slice(left, right)), (slice(bottom - 1, bottom), slice(left, right))]
    for rows, columns in lines:
        line = pixels[rows, columns].astype(np.float32)
        pixels[rows, columns] = (line + (255 - line) * _BORDER).astype(np.uint8)


@cache
def heat_colours() -> npt.NDArray[np.float32]:
    """Of each strength of heat, float32 [256, 3] in 0–255."""
    import matplotlib  # for who draws: training, whose maps are judged first, starts without

    return (matplotlib.colormaps["turbo"](np.arange(256))[:, :3] * 255).astype(np.float32)
