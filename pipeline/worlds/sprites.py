"""Instruments as they are seen: where each lies, how it looks, and how it is drawn."""

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.worlds.finishes import FINISHES, HELD_OUT
from pipeline.worlds.instruments import INSTRUMENTS, NAMES, OfInstrument
from pipeline.worlds.settings import InstrumentLooks, Split
from pipeline.worlds.shapes import SHAPES

FINE = 3
"""Each pixel of an instrument is drawn as FINE × FINE points."""

CLASS_FACTS: dict[str, Any] = {
    "classes": list(NAMES),
    "hues": {instrument.name: instrument.hue for instrument in INSTRUMENTS},
    "held_out": dict(zip(NAMES, HELD_OUT, strict=True)),
}
"""What a world of instruments says of its classes: names, colours, and the finish of each that is kept for the test
split."""

Place = tuple[float, float, float]
"""Centre (x, y) and side of a square, as shares of the frame's side."""


@dataclass(frozen=True)
class Sprite(OfInstrument):
    """One instrument in the picture.

    Attributes:
        finish: name of its finish.
        x: horizontal centre of its square, as a share of the frame's side.
        y: vertical centre, downwards.
        size: side of the square, as a share of the frame's side.
        tilt_degrees: turn, clockwise.
        colour: hue, saturation and value, each in 0–1.
        accent: value of its detail and second colour, as a factor on the colour's value.
    """

    finish: str
    x: float
    y: float
    size: float
    tilt_degrees: float
    colour: tuple[float, float, float]
    accent: float


def draw_sprites(
    random: np.random.Generator, looks: InstrumentLooks, split: Split, classes: Sequence[int]
) -> tuple[Sprite, ...]:
    """One instrument of each class, none touching another."""
    places = draw_places(random, looks.min_size, looks.max_size, len(classes))
    sprites = []
    for instrument, (x, y, size) in zip(classes, places, strict=True):
        held_out = split == "test" and random.random() < looks.held_out_share
        finishes = [HELD_OUT[instrument]] if held_out else [f for f in FINISHES if f != HELD_OUT[instrument]]
        own_hue, any_hue = random.normal(INSTRUMENTS[instrument].hue, 0.012), random.random()
        hue = own_hue if looks.difficulty == "easy" else any_hue
        sprites.append(
            Sprite(
                instrument=instrument,
                finish=str(random.choice(finishes)),
                x=x,
                y=y,
                size=size,
                tilt_degrees=round(float(random.uniform(-15.0, 15.0)), 2),
                colour=(
                    round(float(hue) % 1.0, 4),
                    round(float(random.uniform(0.7, 1.0)), 4),
                    round(float(random.uniform(0.7, 1.0)), 4),
                ),
                accent=round(float(random.uniform(0.35, 0.55)), 4),
            )
        )
    return tuple(sprites)


def draw_places(random: np.random.Generator, smallest: float, largest: float, count: int) -> list[Place]:
    """Squares that lie inside the frame and apart from one another."""
    shrink = 1.0
    while True:
        for _ in range(20):
            places = _try_places(random, random.uniform(smallest, largest, count) * shrink)
            if places is not None:
                # those placed late lie nearer to the edges: shuffled, so that no class or role does
                return [places[int(i)] for i in random.permutation(count)]
        shrink *= 0.93


def _try_places(random: np.random.Generator, sizes: npt.NDArray[np.float64]) -> list[Place] | None:
    places: list[Place] = []
    for size in sizes:
        for _ in range(25):
            x, y = random.uniform(size / 2, 1 - size / 2, 2)
            if all(max(abs(x - px), abs(y - py)) > (size + other) / 2 + 0.015 for px, py, other in places):
                places.append((round(float(x), 4), round(float(y), 4), round(float(size), 4)))
                break
        else:
            return None
    return places


def draw_sprite(image: npt.NDArray[np.float32], owner: npt.NDArray[np.uint8], sprite: Sprite, number: int) -> None:
    """Draw an instrument into `image` [size, size, 3] in 0–1, and `number` into `owner` [size, size] where it covers at
    least half of a pixel."""
    size = len(image)
    half = sprite.size * size / 2
    left, top = max(0, math.floor(sprite.x * size - half)), max(0, math.floor(sprite.y * size - half))
    right, bottom = min(size, math.ceil(sprite.x * size + half)), min(size, math.ceil(sprite.y * size + half))
    # a tilted square of this scale stays inside the untilted one
    angle = math.radians(sprite.tilt_degrees)
    scale = (math.cos(angle) + abs(math.sin(angle))) / half
    across = (np.arange((right - left) * FINE, dtype=np.float32) + 0.5) / FINE + left - sprite.x * size
    down = (np.arange((bottom - top) * FINE, dtype=np.float32) + 0.5) / FINE + top - sprite.y * size
    cos, sin = np.float32(math.cos(angle) * scale), np.float32(math.sin(angle) * scale)
    x = cos * across[None, :] + sin * down[:, None]
    y = cos * down[:, None] - sin * across[None, :]

    inside, detail = SHAPES[NAMES[sprite.instrument]](x, y)
    second = FINISHES[sprite.finish](x, y)
    edge = inside & ~_shrunk(inside, FINE)
    hue, saturation, value = sprite.colour
    body = np.array(colorsys.hsv_to_rgb(hue, saturation, value), np.float32)
    # the second tone is lighter, the detail darker, so that they stay apart from each other
    pale = body + (1 - body) * np.float32(0.55)
    tones = np.stack([body, pale, body * np.float32(sprite.accent), body * np.float32(0.15)])
    tone = np.where(edge, 3, np.where(detail, 2, second.astype(np.int8)))
    colour = tones[tone] * inside[..., None]

    shape = (bottom - top, FINE, right - left, FINE)
    cover = inside.reshape(shape).mean(axis=(1, 3), dtype=np.float32)
    colour = colour.reshape(*shape, 3).mean(axis=(1, 3))
    region = (slice(top, bottom), slice(left, right))
    image[region] = image[region] * (1 - cover[..., None]) + colour
    owner[region] = np.where(cover >= 0.5, number, owner[region])


def _shrunk(mask: npt.NDArray[np.bool_], by: int) -> npt.NDArray[np.bool_]:
    """The mask without its outermost `by` points on each of the four sides."""
    kept = np.zeros_like(mask)
    middle = mask[by:-by, by:-by]
    kept[by:-by, by:-by] = (
        middle & mask[: -2 * by, by:-by] & mask[2 * by :, by:-by] & mask[by:-by, : -2 * by] & mask[by:-by, 2 * by :]
    )
    return kept
