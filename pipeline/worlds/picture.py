"""From a scene to its picture, and to exact masks and boxes."""

import colorsys
import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.worlds.backgrounds import draw_background
from pipeline.worlds.finishes import FINISHES
from pipeline.worlds.instruments import NAMES
from pipeline.worlds.scene import Scene, Sprite
from pipeline.worlds.shapes import SHAPES

FINE = 3
"""Each pixel of an instrument is drawn as FINE × FINE points."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class ScenePicture:
    """The still picture of a scene.

    Attributes:
        image: [size, size, 3] uint8, sRGB, before sensor noise and coding.
        owner: [size, size] uint8: 1 + the place in `scene.sprites` of the instrument that covers at least half of the
            pixel, 0 for background.
    """

    image: npt.NDArray[np.uint8]
    owner: npt.NDArray[np.uint8]

    def mask(self, sprites: Collection[int]) -> npt.NDArray[np.uint8]:
        """Index mask [size, size]: 1 + place among the scene's sprites for those asked for, else 0."""
        keep = np.zeros(256, np.uint8)
        for place in sprites:
            keep[place + 1] = place + 1
        return np.asarray(keep[self.owner])

    def box(self, sprite: int) -> Box:
        """Tight box of an instrument's pixels, `(x1, y1, x2, y2)` in 0–1 of the frame."""
        rows = np.flatnonzero((self.owner == sprite + 1).any(axis=1))
        columns = np.flatnonzero((self.owner == sprite + 1).any(axis=0))
        edges = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        x1, y1, x2, y2 = (round(float(edge) / len(self.owner), 6) for edge in edges)
        return x1, y1, x2, y2


def draw_picture(scene: Scene, size: int) -> ScenePicture:
    """Render a scene at `size` × `size` pixels."""
    random = np.random.default_rng([scene.picture_seed, 0])
    image = draw_background(scene.background, random, size)
    owner = np.zeros((size, size), np.uint8)
    for place, sprite in enumerate(scene.sprites):
        _draw_sprite(image, owner, sprite, place, size)
    return ScenePicture(np.round(image * 255).astype(np.uint8), owner)


def _draw_sprite(
    image: npt.NDArray[np.float32], owner: npt.NDArray[np.uint8], sprite: Sprite, place: int, size: int
) -> None:
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
    owner[region] = np.where(cover >= 0.5, place + 1, owner[region])


def _shrunk(mask: npt.NDArray[np.bool_], by: int) -> npt.NDArray[np.bool_]:
    """The mask without its outermost `by` points on each of the four sides."""
    kept = np.zeros_like(mask)
    middle = mask[by:-by, by:-by]
    kept[by:-by, by:-by] = (
        middle & mask[: -2 * by, by:-by] & mask[2 * by :, by:-by] & mask[by:-by, : -2 * by] & mask[by:-by, 2 * by :]
    )
    return kept
