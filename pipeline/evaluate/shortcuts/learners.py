"""The simplest things that learn: ridge regression on spectra and colours."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline.evaluate.shortcuts.world_files import Waveform
from pipeline.video.clip import Pixels

Features = npt.NDArray[np.float64]

_WINDOW = 1022
_HUES = 24
_RIDGE = 30.0


class Ridge:
    """Linear regression to one-hot classes.

    Args:
        features: [N, D].
        classes: [N], numbers below `count`.
    """

    def __init__(self, features: Features, classes: Sequence[int], count: int) -> None:
        self._mean, self._spread = features.mean(axis=0), features.std(axis=0) + 1e-6
        known = self._whitened(features)
        wanted = np.eye(count)[list(classes)]
        self._bias = wanted.mean(axis=0)
        self._weights = np.linalg.solve(
            known.T @ known + _RIDGE * np.eye(known.shape[1]), known.T @ (wanted - self._bias)
        )

    def scores(self, features: Features) -> Features:
        """[N, count], higher where the class is likelier."""
        return np.asarray(self._whitened(features) @ self._weights + self._bias)

    def _whitened(self, features: Features) -> Features:
        return np.asarray((features - self._mean) / self._spread)


def spectrum(sound: Waveform) -> Features:
    """Mean log magnitude [512] over windows of a sound [S]."""
    count = max(1, len(sound) // _WINDOW)
    windows = np.resize(sound, count * _WINDOW).reshape(count, _WINDOW) * np.hanning(_WINDOW)
    return np.asarray(np.log(np.abs(np.fft.rfft(windows)).clip(1e-3)).mean(axis=0))


def hues(frame: Pixels) -> tuple[Features, Features]:
    """Hue [H, W] in turns of the colour circle and its strength [H, W]: 0 for the muted colours of backgrounds."""
    rgb = frame.astype(np.float64) / 255
    value = rgb.max(axis=-1)
    chroma = value - rgb.min(axis=-1)
    red, green, blue = np.moveaxis(rgb, -1, 0)
    safe = np.where(chroma > 0, chroma, 1)
    hue = np.select(
        [value == red, value == green], [(green - blue) / safe % 6, (blue - red) / safe + 2], (red - green) / safe + 4
    )
    return np.asarray(hue / 6 % 1), np.asarray(np.clip(chroma - 0.25, 0, None))


def colours(frame: Pixels) -> Features:
    """How much of each hue a picture has [24], and its mean colours in a grid of 4 × 4 [48]."""
    hue, strength = hues(frame)
    bins = np.minimum((hue * _HUES).astype(int), _HUES - 1)
    histogram = np.bincount(bins.ravel(), strength.ravel(), _HUES) / hue.size
    rows, columns = (np.array_split(np.arange(side), 4) for side in frame.shape[:2])
    grid = [frame[np.ix_(r, c)].mean(axis=(0, 1)) / 255 for r in rows for c in columns]
    return np.concatenate([np.sqrt(histogram), np.concatenate(grid)])
