"""Keypoints drawn over the frame that they are of."""

import numpy as np
from PIL import Image, ImageDraw

from pipeline.samples.skeleton import BODY, BONES, POINTS
from pipeline.shards.keypoints_file import Keypoints
from pipeline.video.clip import Pixels

_COLOURS = ((255, 200, 40), (70, 210, 255), (255, 110, 180), (120, 230, 110))
_LINE = 1 / 160  # of the frame's height
_ROWS = 480  # pages show no frame larger: smaller ones are drawn larger and scaled down, so that thin lines stay thin


def draw_persons(pixels: Pixels, persons: Keypoints) -> Pixels:
    """A frame RGB [H, W, 3] with its persons [persons, 68, 3] over it: a colour a place, lines the fainter the less
    confident."""
    rows, columns = pixels.shape[:2]
    scale = max(1, round(_ROWS / rows))
    size = (scale * columns, scale * rows)
    layer = Image.new("RGBA", size)
    draw = ImageDraw.Draw(layer)
    width = max(scale, round(_LINE * size[1]))
    for place, points in enumerate(persons.tolist()):
        red, green, blue = _COLOURS[place % len(_COLOURS)]
        at = [(x * size[0], y * size[1]) for x, y, _ in points]
        opacity = [round(255 * confidence) for _, _, confidence in points]
        for one, other in BONES:
            seen = min(opacity[one], opacity[other])
            if seen:
                thin = max(1, width // 2) if other >= BODY and one >= BODY else width  # of a hand
                draw.line([at[one], at[other]], (red, green, blue, seen), thin)
        for point in range(POINTS):
            if opacity[point]:
                x, y = at[point]
                reach = width if point < BODY else width / 3
                draw.ellipse([x - reach, y - reach, x + reach, y + reach], (255, 255, 255, opacity[point]))
    drawn = Image.fromarray(pixels).convert("RGBA")
    drawn.alpha_composite(layer.reduce(scale))
    return np.asarray(drawn.convert("RGB"))
