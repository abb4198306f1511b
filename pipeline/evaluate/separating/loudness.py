"""How loud each place is, from moment to moment and in all."""

import math

import torch
from torch import Tensor

_STEP_S = 0.05
_SILENT = 1e-14
"""Power below that of the rounding to 24 bits."""


class Loudness:
    """Gathers the power of sounds: of all of their length, and of their beginning a number each 50 ms.

    Args:
        count: of sounds.
        begin_s: length of that beginning.
    """

    def __init__(self, rate_hz: int, count: int, begin_s: float) -> None:
        self._step = max(round(_STEP_S * rate_hz), 1)
        self._rate_hz = rate_hz
        self._sums = torch.zeros(count, int(begin_s * rate_hz) // self._step + 1, dtype=torch.float64)
        self._total = torch.zeros(count, dtype=torch.float64)
        self._samples = 0

    def add(self, sounds: Tensor) -> None:
        """The next samples [count, C, n]."""
        squares = sounds.double().square().mean(1)
        begin = squares[:, : max(self._sums.shape[1] * self._step - self._samples, 0)]
        steps = (torch.arange(begin.shape[1]) + self._samples) // self._step
        self._sums.index_add_(1, steps, begin)
        self._total += squares.sum(1)
        self._samples += squares.shape[1]

    def at(self, time_s: float) -> list[float]:
        """dB of full scale of each at a time of the beginning (s from the first sample), −inf where it is silent."""
        step = int(time_s * self._rate_hz / self._step)
        if not 0 <= step < self._sums.shape[1]:
            return [-math.inf] * len(self._sums)
        return [_decibels(one / self._step) for one in self._sums[:, step].tolist()]

    def totals(self) -> list[float]:
        """Power of each in all."""
        total: list[float] = self._total.tolist()
        return total

    def mean_db(self) -> list[float | None]:
        """dB of full scale of each over all; None where it is silent."""
        levels = [_decibels(one / max(self._samples, 1)) for one in self.totals()]
        return [None if level == -math.inf else round(level, 2) for level in levels]


def _decibels(power: float) -> float:
    return 10 * math.log10(power) if power > _SILENT else -math.inf
