"""Backgrounds: families of muted textures, drawn without regard to what stands before them."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image

Field = npt.NDArray[np.float32]


def gradient(random: np.random.Generator, size: int) -> Field:
    """A slope in a random direction."""
    x, y = _grid(random, size)
    return np.asarray((x + 1.5) / 3 + 0 * y)


def stripes(random: np.random.Generator, size: int) -> Field:
    """Soft stripes in a random direction."""
    x, _ = _grid(random, size)
    return np.asarray(0.5 + 0.5 * np.sin(x * np.float32(random.uniform(6, 24))))


def checks(random: np.random.Generator, size: int) -> Field:
    """A turned chessboard."""
    x, y = _grid(random, size)
    scale = np.float32(random.uniform(1.5, 4))
    return np.asarray(((np.floor(x * scale) + np.floor(y * scale)) % 2).astype(np.float32))


def clouds(random: np.random.Generator, size: int) -> Field:
    """Noise of three scales."""
    return np.asarray(0.5 * _blurry(random, size, 4) + 0.3 * _blurry(random, size, 9) + 0.2 * _blurry(random, size, 24))


def patches(random: np.random.Generator, size: int) -> Field:
    """Flat islands."""
    return np.asarray(np.floor(_blurry(random, size, int(random.integers(5, 12))) * 4) / 3)


BACKGROUNDS: dict[str, Callable[[np.random.Generator, int], Field]] = {
    "gradient": gradient,
    "stripes": stripes,
    "checks": checks,
    "clouds": clouds,
    "patches": patches,
}
"""Family → field [size, size] of about 0–1 that mixes two muted colours."""


def draw_background(family: str, random: np.random.Generator, size: int) -> Field:
    """A background [size, size, 3] in 0–1."""
    one, two = (_muted(random) for _ in range(2))
    share = BACKGROUNDS[family](random, size)[..., None]
    grain = random.standard_normal((size, size, 1), np.float32) * np.float32(random.uniform(0.01, 0.05))
    return np.asarray(np.clip(one + (two - one) * share + grain, 0, 1))


def _muted(random: np.random.Generator) -> Field:
    """A greyish colour [3]."""
    return np.asarray(random.uniform(0.15, 0.85) + random.uniform(-0.09, 0.09, 3), np.float32)


def _grid(random: np.random.Generator, size: int) -> tuple[Field, Field]:
    """Coordinates of about -1…1, turned and moved at random."""
    line = np.linspace(-1, 1, size, dtype=np.float32)
    angle, dx, dy = random.uniform(0, np.pi), *random.uniform(0, 1, 2)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    x, y = line[None, :], line[:, None]
    return np.asarray(cos * x + sin * y + np.float32(dx)), np.asarray(cos * y - sin * x + np.float32(dy))


def _blurry(random: np.random.Generator, size: int, cells: int) -> Field:
    """Smooth noise [size, size] in 0–1 with about `cells` bumps a side."""
    coarse = Image.fromarray(random.random((cells, cells), np.float32))
    return np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC), np.float32).clip(0, 1)
