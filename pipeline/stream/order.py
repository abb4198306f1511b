"""The order of samples: `(seed, epoch, position) → sample`, a pure function.

The shards, shuffled once, are cut into *lanes* of equal numbers of samples. A position belongs to a run of `RUN`
consecutive ones; runs go through the lanes in turn, so that a batch holds samples from everywhere, while a node that
always takes the same part of the batch reads few lanes. Each epoch the shards of a lane are shuffled anew and cut into
*blocks* of about `block_samples`; the samples of a block are shuffled among themselves. What must be kept at hand is a
block a lane, and going on at any position costs the same. Where an epoch shows one sample of each video, the order is
one of videos, and `ReadPlan` draws the sample.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from pipeline.stream.randomness import keyed_generator

RUN = 8
"""Consecutive positions that come from the same lane."""

_NEAR = 4
"""Attempts to find a stand-in near by."""

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Lane:
    """One epoch's walk through a lane.

    Attributes:
        pieces: [P] shard numbers, in this epoch's order; of the first and last of a lane maybe only a part is its.
        first: [P] index of each piece's first sample in the shard set's own order.
        ends: [P] samples of the lane up to each piece's end.
        block_ends: [K] pieces up to each block's end.
    """

    pieces: Numbers
    first: Numbers
    ends: Numbers
    block_ends: Numbers


class Order:
    """A shuffled order over the samples of a shard set, the same on every machine.

    A *global position* counts on over the epochs; an epoch that doesn't fill its last batch carries into the next, so
    each sample comes once an epoch, whatever divides or doesn't.

    Args:
        shard_samples: samples of each shard.
        block_samples: about how many samples are shuffled among themselves.
        lanes: most lanes; there are fewer where a lane would hold less than a block.
        name: sets of different names have different orders.
    """

    def __init__(
        self, shard_samples: Sequence[int] | Numbers, seed: int, block_samples: int, lanes: int = 1, name: str = ""
    ) -> None:
        self.seed = seed
        self.name = name
        self.block_samples = block_samples
        self._samples = np.asarray(shard_samples, dtype=np.int64)
        self._first = np.concatenate([[0], np.cumsum(self._samples)])
        self.lanes = max(1, min(lanes, len(self) // block_samples))
        shards = keyed_generator(seed, f"shards{name}").permutation(len(self._samples))
        self._shards = shards[self._samples[shards] > 0]
        self._shard_ends = np.cumsum(self._samples[self._shards])
        runs = -(-len(self) // RUN)
        lane_runs = runs // self.lanes + (np.arange(self.lanes) < runs % self.lanes)
        lane_samples = lane_runs * RUN
        lane_samples[(runs - 1) % self.lanes] -= runs * RUN - len(self)  # the last run may be short
        self.lane_ends: Numbers = np.cumsum(lane_samples)
        """Samples of all lanes up to each one's end."""
        self.lane = lru_cache(maxsize=2 * self.lanes + 2)(self._plan_lane)
        self._block = lru_cache(maxsize=2 * self.lanes + 2)(self._plan_block)

    def __len__(self) -> int:
        """Samples an epoch."""
        return int(self._first[-1])

    def samples_at(self, epoch: int, positions: Sequence[int] | range | Numbers) -> Numbers:
        """Indices [N], in the shard set's own order, of the samples at positions [N] of an epoch."""
        if isinstance(positions, range) and positions.step == 1:
            return self._stretch(epoch, positions.start, positions.stop)
        place = np.asarray(positions, dtype=np.int64)
        lanes = place // RUN % self.lanes
        inside = place // (RUN * self.lanes) * RUN + place % RUN
        found = np.empty(len(place), dtype=np.int64)
        for lane in np.unique(lanes):
            mine = np.flatnonzero(lanes == lane)
            found[mine] = self._in_lane(epoch, int(lane), inside[mine])
        return found

    def stand_in(self, epoch: int, position: int, attempt: int) -> int:
        """The sample that is taken where the one at a position is bad, and the one before (`attempt` − 1) was too: any
        sample of the same block, which is at hand, or after some attempts of the whole set; drawn by epoch, position
        and attempt."""
        generator = keyed_generator(self.seed, f"stand-in{self.name}", epoch, position, attempt)
        if attempt > _NEAR:
            return int(generator.integers(len(self)))
        lane, inside = position // RUN % self.lanes, position // (RUN * self.lanes) * RUN + position % RUN
        block = self._block(epoch, lane, self._block_of(epoch, lane, inside))
        return int(block[generator.integers(len(block))])

    def shard_of(self, sample: int | Numbers) -> Numbers:
        """Number of the shard that holds a sample."""
        return np.searchsorted(self._first, sample, side="right") - 1

    def fingerprint(self) -> str:
        """Changes with everything that the order hangs on, also with how numpy shuffles."""
        content = np.concatenate([self._samples, self.samples_at(0, range(min(len(self), 4 * RUN * self.lanes)))])
        key = f"{self.seed} {self.name} {self.block_samples} {self.lanes}"
        return hashlib.sha256(content.tobytes() + key.encode()).hexdigest()[:16]

    def _stretch(self, epoch: int, start: int, stop: int) -> Numbers:
        """Samples at consecutive positions; each lane's part of them is consecutive in the lane."""
        around = RUN * self.lanes
        first_round, rounds = start // around, -(-stop // around)
        found = np.empty((rounds - first_round, self.lanes, RUN), dtype=np.int64)
        for lane in range(self.lanes):
            size = int(self.lane_ends[lane] - (self.lane_ends[lane - 1] if lane else 0))
            begin, end = first_round * RUN, min(rounds * RUN, size)
            if begin < end:
                inside = self._lane_stretch(epoch, lane, begin, end)
                whole = len(inside) // RUN
                found[:whole, lane] = inside[: whole * RUN].reshape(-1, RUN)
                if rest := inside[whole * RUN :].tolist():  # the epoch's last run
                    found[whole, lane, : len(rest)] = rest
        return found.reshape(-1)[start - first_round * around : stop - first_round * around]

    def _lane_stretch(self, epoch: int, lane: int, begin: int, end: int) -> Numbers:
        plan = self.lane(epoch, lane)
        ends = plan.ends[plan.block_ends - 1]
        parts, block = [], int(np.searchsorted(ends, begin, side="right"))
        while begin < end:
            start, stop = int(ends[block - 1]) if block else 0, min(int(ends[block]), end)
            parts.append(self._block(epoch, lane, block)[begin - start : stop - start])
            begin, block = stop, block + 1
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _in_lane(self, epoch: int, lane: int, inside: Numbers) -> Numbers:
        plan = self.lane(epoch, lane)
        ends = plan.ends[plan.block_ends - 1]
        blocks = np.searchsorted(ends, inside, side="right")
        found = np.empty(len(inside), dtype=np.int64)
        for block in np.unique(blocks):
            mine = blocks == block
            start = int(ends[block - 1]) if block else 0
            found[mine] = self._block(epoch, lane, int(block))[inside[mine] - start]
        return found

    def _block_of(self, epoch: int, lane: int, inside: int) -> int:
        plan = self.lane(epoch, lane)
        return int(np.searchsorted(plan.ends[plan.block_ends - 1], inside, side="right"))

    def _plan_lane(self, epoch: int, lane: int) -> Lane:
        start, end = int(self.lane_ends[lane - 1]) if lane else 0, int(self.lane_ends[lane])
        begin, stop = (int(np.searchsorted(self._shard_ends, at, side="right")) for at in (start, end - 1))
        pieces = self._shards[begin : stop + 1]
        samples, first = self._samples[pieces], self._first[pieces]
        cut = start - (int(self._shard_ends[begin]) - int(samples[0]))
        samples[-1] -= int(self._shard_ends[stop]) - end
        samples[0] -= cut
        first[0] += cut
        shuffled = keyed_generator(self.seed, f"lane{self.name}", epoch, lane).permutation(len(pieces))
        ends = np.cumsum(samples[shuffled])
        blocks = max(1, (end - start) // self.block_samples)
        # lanes end their blocks one after the other, so that what they need next is not all needed at once
        shift = lane / self.lanes if blocks > 1 else 0.0
        wanted = (np.arange(1, blocks + 1) - shift) * (end - start) / blocks
        block_ends = np.unique(np.append(np.searchsorted(ends, wanted[wanted < end - start]) + 1, len(pieces)))
        return Lane(pieces[shuffled], first[shuffled], ends, block_ends)

    def _plan_block(self, epoch: int, lane: int, block: int) -> Numbers:
        """The samples of a block in their shuffled order."""
        plan = self.lane(epoch, lane)
        begin, stop = int(plan.block_ends[block - 1]) if block else 0, int(plan.block_ends[block])
        ends = plan.ends[begin:stop]
        start = int(plan.ends[begin - 1]) if begin else 0
        samples = np.arange(start, int(ends[-1]))
        # a sample's index is its place in the lane, moved by what lies between the lane and the set's own order
        samples += np.repeat(plan.first[begin:stop] - np.append(start, ends[:-1]), np.diff(ends, prepend=start))
        return keyed_generator(self.seed, f"block{self.name}", epoch, lane, block).permutation(samples)
