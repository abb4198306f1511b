"""Silhouettes of the eight instruments.

A shape is a function of coordinates x (right) and y (down) in -1…1: where the instrument is, and where a darker detail
(strings, holes, keys) lies on it. Every shape fills about the same square, so that size says nothing about the class.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Coordinates = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Shape = Callable[[Coordinates, Coordinates], tuple[Mask, Mask]]


def accordion(x: Coordinates, y: Coordinates) -> tuple[Mask, Mask]:
    """Two upright boards with folded bellows between them."""
    boards = _box(x, y, -0.95, -0.55, -0.85, 0.85) | _box(x, y, 0.55, 0.95, -0.85, 0.85)
    folds = np.abs(((x + 1.0) * 3.636) % 1.0 - 0.5) * 2
    bellows = (np.abs(x) < 0.56) & (np.abs(y) < 0.38 + 0.3 * folds)
    keys = _box(x, y, -0.85, -0.66, -0.7, 0.7) & (np.abs((y * 3.2) % 1.0 - 0.5) > 0.2)
    creases = (np.abs(x) < 0.54) & (folds < 0.28)
    return boards | bellows, keys | creases


def bell(x: Coordinates, y: Coordinates) -> tuple[Mask, Mask]:
    """A flaring bell with a knob above and a clapper below."""
    down = np.clip((y + 0.72) / 1.3, 0.0, 1.0)
    width = 0.9 * (0.28 + 0.16 * np.sqrt(down) + 0.56 * down**4)
    body = (np.abs(x) < width) & (y > -0.72) & (y < 0.58)
    body |= _disc(x, y, 0.0, -0.78, 0.17)
    clapper = _disc(x, y, 0.0, 0.72, 0.22)
    return body | clapper, (body & (y > 0.36) & (y < 0.46)) | (clapper & (y > 0.6))


def harp(x: Coordinates, y: Coordinates) -> tuple[Mask, Mask]:
    """A triangle of beams with strings in it."""
    pillar = _box(x, y, -0.9, -0.64, -0.9, 0.92)
    neck = _beam(x, y, (-0.8, -0.78), (0.85, -0.62), 0.15)
    board = _beam(x, y, (-0.76, 0.82), (0.83, -0.6), 0.15)
    inside = (x > -0.7) & (y > -0.74) & (y < 0.8 - 0.893 * (x + 0.76))
    strings = inside & (np.abs((x * 3.3) % 1.0 - 0.5) < 0.14)
    return pillar | neck | board | strings, strings


def kalimba(x: Coordinates, y: Coordinates) -> tuple[Mask, Mask]:
    """A square board with a round hole through it and tines at its upper edge."""
    board = _box(x, y, -0.82, 0.82, -0.42, 0.92)
    hole = _disc(x, y, 0.0, 0.4, 0.34)
    tines = np.zeros_like(board)
    for n, top in enumerate((-0.62, -0.78, -0.94, -0.78, -0.62)):
        middle = -0.6 + 0.3 * n
        tines |= _box(x, y, middle - 0.085, middle + 0.085, top, -0.1)
    return (board & ~hole) | tines, tines | (board & (y > -0.1) & (y < 0.0))


def ocarina(x: Coordinates, y: Coordinates) -> tuple[Mask, Mask]:
    """A flat egg with a mouthpiece and finger holes."""
    egg = ((x + 0.02) / 0.94) ** 2 + ((y - 0.22) / (0.5 - 0.14 * x)) ** 2 < 1
    mouthpiece = _beam(x, y, (-0.35, 0.0), (-0.52, -0.68), 0.19)
    holes = np.zeros_like(egg)
    for cx, cy in ((-0.45, 0.3), (-0.1, 0.12), (0.24, 0.3), (0.55, 0.18)):
        holes |= _disc(x, y, cx, cy, 0.13)
    return egg | mouthpiece, holes


def organ(x: Coordinates, y: Coordinates) -> tuple[Mask, Mask]:
    """Five pipes, the tallest in the middle, on a chest."""
    pipes = np.zeros(x.shape, bool)
    mouths = np.zeros(x.shape, bool)
    for n, top in enumerate((-0.1, -0.5, -0.92, -0.5, -0.1)):
        middle = -0.76 + 0.38 * n
        pipes |= _box(x, y, middle - 0.135, middle + 0.135, top, 0.6)
        mouths |= _box(x, y, middle - 0.08, middle + 0.08, 0.28, 0.42)
    return pipes | _box(x, y, -0.95, 0.95, 0.56, 0.9), mouths


def trumpet(x: Coordinates, y: Coordinates) -> tuple[Mask, Mask]:
    """A tube that opens into a wide bell on the right, with an oval loop below."""
    along = np.clip((x + 0.1) / 1.0, 0.0, 1.0)
    horn = (np.abs(y + 0.25) < 0.11 + 0.56 * along**2.2) & (x > -0.95) & (x < 0.92)
    oval = ((x + 0.2) / 0.6) ** 2 + ((y - 0.18) / 0.46) ** 2
    hollow = ((x + 0.2) / 0.4) ** 2 + ((y - 0.18) / 0.26) ** 2
    loop = (oval < 1) & (hollow > 1)
    valves = np.zeros_like(loop)
    for middle in (-0.42, -0.2, 0.02):
        valves |= _box(x, y, middle - 0.07, middle + 0.07, -0.62, 0.6)
    return horn | loop | valves, (x > 0.76) & horn | (valves & (y > -0.1) & (y < 0.5))


def violin(x: Coordinates, y: Coordinates) -> tuple[Mask, Mask]:
    """A waisted body with a neck and a scroll."""
    body = _disc(x, y, 0.0, 0.5, 0.45) | _disc(x, y, 0.0, -0.08, 0.34)
    neck = _box(x, y, -0.09, 0.09, -0.95, 0.2)
    pegs = _box(x, y, -0.27, 0.27, -0.86, -0.76) | _box(x, y, -0.27, 0.27, -0.7, -0.6)
    bridge = _box(x, y, -0.2, 0.2, 0.4, 0.48)
    return body | neck | pegs, bridge | _box(x, y, -0.05, 0.05, -0.7, 0.7)


SHAPES: dict[str, Shape] = {
    shape.__name__: shape for shape in (accordion, bell, harp, kalimba, ocarina, organ, trumpet, violin)
}
"""Class name → shape."""


def _box(x: Coordinates, y: Coordinates, x1: float, x2: float, y1: float, y2: float) -> Mask:
    return np.asarray((x > x1) & (x < x2) & (y > y1) & (y < y2))


def _disc(x: Coordinates, y: Coordinates, cx: float, cy: float, radius: float) -> Mask:
    return np.asarray((x - cx) ** 2 + (y - cy) ** 2 < radius**2)


def _beam(x: Coordinates, y: Coordinates, a: tuple[float, float], b: tuple[float, float], radius: float) -> Mask:
    """All points nearer than `radius` to the line from `a` to `b`."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    along = np.clip(((x - a[0]) * dx + (y - a[1]) * dy) / (dx * dx + dy * dy), 0.0, 1.0)
    return np.asarray((x - a[0] - along * dx) ** 2 + (y - a[1] - along * dy) ** 2 < radius**2)
