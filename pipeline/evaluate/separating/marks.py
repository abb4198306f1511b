"""Places marked in a frame, with how loud each is."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipeline.evaluate.overlay.video_stream import Pixels
from pipeline.evaluate.separating.places import Place

COLOURS = ((255, 196, 0), (0, 190, 255), (255, 90, 130), (120, 220, 80), (190, 140, 255), (255, 140, 50))
"""Of the first, second, … place; then again."""
_QUIETEST_DB = -60.0
_DARK = (20, 20, 24)


def colour_of(number: int) -> tuple[int, int, int]:
    """Of a place, by its number."""
    return COLOURS[number % len(COLOURS)]


def mark(pixels: Pixels, places: Sequence[Place], time_s: float, loudness_db: Sequence[float] | None = None) -> Pixels:
    """Mark places in a frame [H, W, 3]: a ring around a point, a frame around a box, and the name.

    Args:
        time_s: of the frame, s from the video's zero.
        loudness_db: of each place at that time, dB of full scale (−inf where it is silent): rings are wider where it is
            louder, and meters in the lower left corner show it. Without it there are none.
    """
    height, width = pixels.shape[:2]
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    unit = max(min(height, width) / 40, 3.0)
    font = ImageFont.load_default(size=max(round(1.6 * unit), 9))
    levels = [0.0] * len(places) if loudness_db is None else [loud_share(one) for one in loudness_db]
    for number, (place, level) in enumerate(zip(places, levels, strict=True)):
        x1, y1, x2, y2 = place.box_at(time_s)
        is_point = (x1, y1) == (x2, y2)
        radius = unit * (1.2 + 2.4 * level) if is_point else 0.0
        around = (x1 * width - radius, y1 * height - radius, x2 * width + radius, y2 * height + radius)
        shape, line = draw.ellipse if is_point else draw.rectangle, max(round(unit / 4), 1)
        for colour, wider in ((_DARK, line), (colour_of(number), 0)):  # a dark edge, to be seen on any frame
            edge = (around[0] - wider, around[1] - wider, around[2] + wider, around[3] + wider)
            shape(edge, outline=colour, width=line + 2 * wider)
        _label(draw, place.name, around, (width, height), colour_of(number), font)
    if loudness_db is not None:
        _meters(draw, levels, (width, height), unit)
    return np.array(image)


def loud_share(decibels: float) -> float:
    """0 where nobody hears it (−60 dB of full scale) to 1 at full scale."""
    return min(max(1 - decibels / _QUIETEST_DB, 0.0), 1.0)


def _label(
    draw: ImageDraw.ImageDraw,
    name: str,
    around: tuple[float, float, float, float],
    size: tuple[int, int],
    colour: tuple[int, int, int],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    """The name above what is marked, or below it at the frame's upper edge."""
    left, top, right, bottom = draw.textbbox((0, 0), name, font=font)
    wide, high = right - left + 6, bottom - top + 4
    x = min(max((around[0] + around[2]) / 2 - wide / 2, 0), size[0] - wide)
    y = around[1] - high - 4 if around[1] - high - 4 >= 0 else min(around[3] + 4, size[1] - high)
    draw.rectangle((x, y, x + wide, y + high), fill=_DARK)
    draw.text((x + 3 - left, y + 2 - top), name, fill=colour, font=font)


def _meters(draw: ImageDraw.ImageDraw, levels: Sequence[float], size: tuple[int, int], unit: float) -> None:
    """A bar for each place, in its colour."""
    high, gap, wide = max(round(0.6 * unit), 3), max(round(0.3 * unit), 2), round(0.3 * size[0])
    top = size[1] - gap - len(levels) * (high + gap)
    draw.rectangle((gap, top - gap, 3 * gap + wide, size[1] - gap), fill=_DARK)
    for number, level in enumerate(levels):
        y = top + number * (high + gap)
        draw.rectangle((2 * gap, y, 2 * gap + wide, y + high - 1), fill=(60, 60, 66))
        if level:
            draw.rectangle((2 * gap, y, 2 * gap + round(level * wide), y + high - 1), fill=colour_of(number))
