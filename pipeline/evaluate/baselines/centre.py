"""The centre: where photographers put things."""

import numpy as np

from pipeline.evaluate.metrics.resize import Map


def centre_disc(size: int) -> Map:
    """A map [size, size] that falls with the distance from the centre."""
    offset = np.arange(size, dtype=np.float32) + 0.5 - size / 2
    disc: Map = -np.hypot(offset[:, None], offset[None, :])
    return disc
