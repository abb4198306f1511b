"""How loud each place is, from moment to moment and in all."""

import math

import numpy as np
import numpy.typing as npt
from torch import Tensor

_STEP_S = 0.05
_SILENT = 1e-14
"""Power below that of the rounding to 24 bits."""


class Loudness:
    """Gathers the power of sounds over time: a number each 50 ms.

    Args:
        count: of sounds.
    """

    def __init__(self, rate_hz: int, count: int) -> None:
        self._step = max(round(_STEP_S * rate_hz), 1)
        self._rate_hz = rate_hz
        self._sums: list[npt.NDArray[np.float64]] = []
        self._count, self._samples = count, 0

    def add(self, sounds: Tensor) -> None:
        """The next samples [count, C, n]."""
        squares = sounds.double().square().mean(1).numpy()
        done = 0
        while done < squares.shape[1]:
            step, inside = divmod(self._samples, self._step)
            taken = min(self._step - inside, squares.shape[1] - done)
            if step == len(self._sums):
                self._sums.append(np.zeros(self._count))
            self._sums[step] += squares[:, done : done + taken].sum(1)
            done += taken
            self._samples += taken

    def at(self, time_s: float) -> list[float]:
        """dB of full scale of each at a time (s from the first sample), −inf where it is silent."""
        step = int(time_s * self._rate_hz / self._step)
        if not 0 <= step < len(self._sums):
            return [-math.inf] * self._count
        return [_decibels(one / self._step) for one in self._sums[step].tolist()]

    def totals(self) -> list[float]:
        """Power of each in all."""
        total: list[float] = np.sum(self._sums, axis=0).tolist() if self._sums else [0.0] * self._count
        return total

    def mean_db(self) -> list[float | None]:
        """dB of full scale of each over all; None where it is silent."""
        levels = [_decibels(one / max(self._samples, 1)) for one in self.totals()]
        return [None if level == -math.inf else round(level, 2) for level in levels]


def _decibels(power: float) -> float:
    return 10 * math.log10(power) if power > _SILENT else -math.inf
