"""Finishes: patterns on an instrument's body. Some pairs of class and finish are kept for the test split."""

from collections.abc import Callable

import numpy as np

from pipeline.worlds.instruments import INSTRUMENTS
from pipeline.worlds.shapes import Coordinates, Mask


def plain(x: Coordinates, y: Coordinates) -> Mask:
    """One colour."""
    return np.zeros(x.shape, bool)


def striped(x: Coordinates, y: Coordinates) -> Mask:
    """Slanting stripes."""
    return np.asarray(((x + y) * 1.8) % 1.0 < 0.4)


def dotted(x: Coordinates, y: Coordinates) -> Mask:
    """Dots on a grid."""
    return np.asarray(((x * 2.2) % 1.0 - 0.5) ** 2 + ((y * 2.2) % 1.0 - 0.5) ** 2 < 0.085)


def two_tone(x: Coordinates, y: Coordinates) -> Mask:
    """The lower half in a second tone."""
    return np.asarray(y > 0.1)


FINISHES: dict[str, Callable[[Coordinates, Coordinates], Mask]] = {
    "plain": plain,
    "striped": striped,
    "dotted": dotted,
    "two-tone": two_tone,
}
"""Finish → where the second tone lies."""

HELD_OUT: tuple[str, ...] = tuple(list(FINISHES)[number % len(FINISHES)] for number in range(len(INSTRUMENTS)))
"""For each class the finish that it wears in the test split only."""
