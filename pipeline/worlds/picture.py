"""Pictures of instruments before a background, with exact masks and boxes."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.worlds.backgrounds import Field
from pipeline.worlds.instruments import NAMES
from pipeline.worlds.sprites import Sprite, draw_sprite

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Picture:
    """Instruments before a background.

    Attributes:
        image: [size, size, 3] uint8, sRGB, before sensor noise and coding.
        owner: [size, size] uint8: 1 + the place among the sprites of the instrument that covers at least half of the
            pixel, 0 for background.
    """

    image: npt.NDArray[np.uint8]
    owner: npt.NDArray[np.uint8]

    def mask(self, sprites: Collection[int]) -> npt.NDArray[np.uint8]:
        """Index mask [size, size]: 1 + place among the sprites for those asked for, else 0."""
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

    def described(self, sprites: Sequence[Sprite]) -> list[dict[str, Any]]:
        """The sprites that it was drawn of, for a ground truth: class, box, and all else of each."""
        return [
            {"class": NAMES[sprite.instrument], "box": self.box(place)} | sprite.described()
            for place, sprite in enumerate(sprites)
        ]


def draw_picture(background: Field, sprites: Sequence[Sprite]) -> Picture:
    """Draw instruments before a background [size, size, 3] in 0–1, which stays as it is."""
    image = background.copy()
    owner = np.zeros(image.shape[:2], np.uint8)
    for place, sprite in enumerate(sprites):
        draw_sprite(image, owner, sprite, place + 1)
    return Picture(np.round(image * 255).astype(np.uint8), owner)
