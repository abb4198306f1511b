"""The order of samples: `(seed, epoch, position) → sample`, a pure function."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from pipeline.stream.randomness import keyed_generator


class Order:
    """A shuffled order over the samples of a shard set, the same on every machine.

    Each epoch the shards are shuffled and cut into blocks, and the samples of a block are shuffled among themselves. A
    *global position* counts on over the epochs; an epoch that doesn't fill its last batch carries into the next, so
    each sample comes once an epoch, whatever divides or doesn't.
    """

    def __init__(self, shard_samples: Sequence[int], seed: int, block_shards: int) -> None:
        self.seed = seed
        self.block_shards = block_shards
        self._samples = np.asarray(shard_samples, dtype=np.int64)
        self._first = np.concatenate([[0], np.cumsum(self._samples)])
        self._epoch = lru_cache(maxsize=2)(self._plan_epoch)
        self._block = lru_cache(maxsize=4)(self._plan_block)

    def __len__(self) -> int:
        """Samples an epoch."""
        return int(self._first[-1])

    def epoch_of(self, global_position: int) -> tuple[int, int]:
        """(epoch, position in the epoch)."""
        return divmod(global_position, len(self))

    def sample_at(self, epoch: int, position: int) -> int:
        """Index, in the shard set's own order, of the sample at a position of an epoch."""
        _, ends = self._epoch(epoch)
        block = int(np.searchsorted(ends, position, side="right"))
        start = int(ends[block - 1]) if block else 0
        return int(self._block(epoch, block)[position - start])

    def _plan_epoch(self, epoch: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The shuffled shards, and the position at which each block of them ends."""
        shards = keyed_generator(self.seed, "shards", epoch).permutation(len(self._samples))
        ends = np.cumsum(self._samples[shards])[self.block_shards - 1 :: self.block_shards]
        if not len(ends) or ends[-1] != len(self):
            ends = np.append(ends, len(self))
        return shards, ends

    def _plan_block(self, epoch: int, block: int) -> npt.NDArray[np.int64]:
        """The samples of a block in their shuffled order."""
        shards, _ = self._epoch(epoch)
        mine = shards[block * self.block_shards : (block + 1) * self.block_shards]
        samples = np.concatenate([np.arange(self._first[shard], self._first[shard + 1]) for shard in mine])
        return keyed_generator(self.seed, "block", epoch, block).permutation(samples)
