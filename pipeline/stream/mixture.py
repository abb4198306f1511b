"""Several shard sets shown in turn by their weights: `position → (set, its own position)`, a pure function.

Runs of positions are dealt to the sets in cycles: each cycle has every set as often as its weight says, in an order of
its own. How far each set was read follows from the position and from the *history* of the weights, a few numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from pipeline.errors import ShardSetError
from pipeline.stream.order import RUN, Numbers
from pipeline.stream.randomness import keyed_generator

CYCLE = 8192
"""Runs of a cycle, and so the grain of the weights."""


class MixtureWeights(BaseModel):
    """The weights from a position on.

    Attributes:
        position: global position at which they begin.
        runs: of each set, by name, the runs a cycle.
        read: of each set, how many of its samples were shown before.
    """

    position: int
    runs: dict[str, int]
    read: dict[str, int]


@dataclass(frozen=True)
class Picks:
    """Where samples come from.

    Attributes:
        sets: [N] number of the set, in the order of the mixture's names.
        positions: [N] global position in that set, counted over its epochs.
    """

    sets: Numbers
    positions: Numbers


class Mixture:
    """Which set is shown at which position.

    Args:
        names: of the sets.
        history: the weights so far, oldest first; the last one's weights go on.
    """

    def __init__(self, names: Sequence[str], seed: int, history: Sequence[MixtureWeights]) -> None:
        self.names = list(names)
        self.seed = seed
        self.history = list(history)
        self._cycle = lru_cache(maxsize=4)(self._plan_cycle)

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return (Mixture, (self.names, self.seed, self.history))

    @classmethod
    def start(cls, shares: Mapping[str, float], seed: int) -> "Mixture":
        """A mixture from position 0 on; `shares` are any positive numbers."""
        return cls(
            list(shares), seed, [MixtureWeights(position=0, runs=runs_of(shares), read=dict.fromkeys(shares, 0))]
        )

    @classmethod
    def resume(
        cls, shares: Mapping[str, float], seed: int, history: Sequence[MixtureWeights], position: int
    ) -> "Mixture":
        """Go on at a position, maybe with other sets or weights, which then hold from there on.

        What was shown so far counts on: a set that stays goes on where it stopped, a new one begins.
        """
        before = cls(list(dict.fromkeys([*shares, *(name for part in history for name in part.runs)])), seed, history)
        runs = runs_of(shares)
        if history[-1].runs == runs:
            return cls(list(shares), seed, history)
        read = before.read_before(position)
        kept = [part for part in history if part.position < position]
        # names that left are remembered, for they may come back
        weights = MixtureWeights(position=position, runs=runs, read={**read, **{n: read.get(n, 0) for n in shares}})
        return cls(list(shares), seed, [*kept, weights])

    def picks(self, positions: range | Numbers) -> Picks:
        """Where the samples at global positions come from; all behind the position at which the weights changed."""
        weights = self.history[-1]
        place = np.asarray(positions, dtype=np.int64) - weights.position
        if len(weights.runs) == 1 and len(self.names) == 1:
            return Picks(np.zeros(len(place), dtype=np.int64), place + weights.read[self.names[0]])
        names = list(weights.runs)
        sets = np.empty(len(place), dtype=np.int64)
        inside = np.empty(len(place), dtype=np.int64)
        runs, offsets = place // RUN, place % RUN
        for cycle in np.unique(runs // CYCLE).tolist():
            mine = runs // CYCLE == cycle
            labels, before = self._cycle(weights.position, cycle)
            at = runs[mine] - cycle * CYCLE
            sets[mine] = labels[at]
            inside[mine] = before[at] * RUN + offsets[mine]
        read = np.array([weights.read[name] for name in names])
        numbers = np.array([self.names.index(name) for name in names])
        return Picks(numbers[sets], read[sets] + inside)

    def read_before(self, position: int) -> dict[str, int]:
        """Of each set, how many samples were shown before a global position."""
        weights = self._weights_at(max(0, position - 1))
        read = dict(weights.read)
        place = position - weights.position
        run, offset = divmod(place, RUN)
        cycle, at = divmod(run, CYCLE)
        labels, _ = self._cycle(weights.position, cycle)
        for number, (name, runs) in enumerate(weights.runs.items()):
            whole = cycle * runs + int(np.count_nonzero(labels[:at] == number))
            read[name] += whole * RUN + (offset if labels[at] == number else 0)
        return read

    def _weights_at(self, position: int) -> MixtureWeights:
        return next(part for part in reversed(self.history) if part.position <= position)

    def _plan_cycle(self, start: int, cycle: int) -> tuple[npt.NDArray[np.int16], Numbers]:
        """Of each run of a cycle its set, and how many runs of that set come before it under these weights."""
        weights = self._weights_at(start)
        counts = list(weights.runs.values())
        dealt = np.repeat(np.arange(len(counts), dtype=np.int16), counts)
        labels = keyed_generator(self.seed, "mix", start, cycle).permutation(dealt)
        before = np.empty(CYCLE, dtype=np.int64)
        for number, count in enumerate(counts):
            mine = labels == number
            before[mine] = cycle * count + np.arange(count)
        return labels, before


def runs_of(shares: Mapping[str, float]) -> dict[str, int]:
    """Runs a cycle for each set: largest remainders, at least one."""
    if len(shares) > CYCLE:
        raise ShardSetError(f"data.train: expected at most {CYCLE} shard sets, found {len(shares)}")
    names, values = list(shares), np.array(list(shares.values()), dtype=np.float64)
    spare = CYCLE - len(names)  # every set has one to begin with
    exact = np.maximum(values / values.sum() * CYCLE - 1, 0)
    exact *= spare / exact.sum() if exact.sum() else 0
    runs = np.floor(exact).astype(np.int64)
    missing = spare - int(runs.sum())
    runs[np.argsort(runs - exact, kind="stable")[:missing]] += 1
    return {name: int(count) + 1 for name, count in zip(names, runs, strict=True)}


def shares_of(
    sizes: Mapping[str, int],
    weights: Mapping[str, float],
    mix: Literal["epochs", "samples", "temperature"],
    temperature: float,
) -> dict[str, float]:
    """Share of the samples of each set, from what its weight means (`data.mix`)."""
    power = {"samples": 0.0, "epochs": 1.0, "temperature": 1 / temperature}[mix]
    return {name: weights[name] * size**power for name, size in sizes.items()}
