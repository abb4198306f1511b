"""What one node reads in the epochs of a planned job, and what of it its cache has."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.stream.order import Numbers
from pipeline.stream.simulate.cache_model import CacheModel
from pipeline.stream.simulate.shard_sizes import ShardSizes

_MOMENTS = 10_000
"""Of an epoch, at which the window is looked at."""


class Extents:
    """The aligned pieces of all shards, numbered through.

    Attributes:
        count: pieces in all.
        whole_bytes: of a piece.
        bytes: [count] of each; a shard's last one may be short.
    """

    def __init__(self, sizes: ShardSizes, extent_bytes: int) -> None:
        of_shard = -(-sizes.bytes // extent_bytes)
        self.whole_bytes = extent_bytes
        self._first = np.concatenate([[0], np.cumsum(of_shard)])
        self._sample_bytes = sizes.bytes / np.maximum(sizes.samples, 1)
        self._first_sample = np.concatenate([[0], np.cumsum(sizes.samples)])
        self.count = int(self._first[-1])
        self.bytes: Numbers = np.full(self.count, extent_bytes, dtype=np.int64)
        full = of_shard > 0
        self.bytes[self._first[1:][full] - 1] = (sizes.bytes - (of_shard - 1) * extent_bytes)[full]

    def of(self, samples: Numbers, shards: Numbers) -> tuple[Numbers, Numbers]:
        """First and last piece of samples, which lie behind each other in their shards and are equally long there."""
        inside, length = samples - self._first_sample[shards], self._sample_bytes[shards]
        start = (inside * length).astype(np.int64)
        end = np.maximum(((inside + 1) * length).astype(np.int64) - 1, start)
        return self._first[shards] + start // self.whole_bytes, self._first[shards] + end // self.whole_bytes


@dataclass
class NodeEpoch:
    """One node's epoch.

    Attributes:
        samples: that it read.
        reads: of extents, one or two a sample.
        fetched: extents that the cache did not have.
        fetched_bytes: of these; without a cache of the samples.
        touched, touched_bytes: different extents that it read.
        shards: different shards that it read.
        window_bytes: most bytes of extents that come between the first and the last read of one of them; a ring of that
            size fetches none twice.
    """

    samples: int = 0
    reads: int = 0
    fetched: int = 0
    fetched_bytes: int = 0
    touched: int = 0
    touched_bytes: int = 0
    shards: int = 0
    window_bytes: int = 0


class Node:
    """A node that reads its part of chunk after chunk.

    Args:
        cache: none where each sample is a request of its own.
    """

    def __init__(self, sizes: ShardSizes, extents: Extents, cache: CacheModel | None) -> None:
        self._sizes, self._extents, self._cache = sizes, extents, cache
        self._sample_bytes = sizes.bytes / np.maximum(sizes.samples, 1)
        self._begin()

    def read(self, samples: Numbers, shards: Numbers) -> None:
        """Read samples in this order."""
        first, last = self._extents.of(samples, shards)
        # a sample's pieces one behind the other, whether it has one or two or more
        count = last - first + 1
        wanted = np.repeat(first, count) + np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
        epoch = self._epoch
        epoch.samples += len(samples)
        epoch.reads += len(wanted)
        if self._cache is None:
            epoch.fetched += len(samples)
            epoch.fetched_bytes += int(self._sample_bytes[shards].sum())
        else:
            fetched = self._cache.read(wanted)
            epoch.fetched += len(fetched)
            epoch.fetched_bytes += int(self._extents.bytes[fetched].sum())
        self._shards[shards] = True
        times = np.arange(epoch.reads - len(wanted), epoch.reads)
        new = self._first_read[wanted] < 0
        # backwards, so that the first of several reads is what stays
        self._first_read[wanted[new][::-1]] = times[new][::-1]
        self._last_read[wanted] = times

    def end_epoch(self) -> NodeEpoch:
        """What the epoch was; the next one begins."""
        epoch = self._epoch
        touched = np.flatnonzero(self._first_read >= 0)
        epoch.touched, epoch.shards = len(touched), int(self._shards.sum())
        sizes = self._extents.bytes[touched].astype(np.float64)
        epoch.touched_bytes = int(sizes.sum())
        moment = max(1, -(-epoch.reads // _MOMENTS))
        first, last = self._first_read[touched] // moment, self._last_read[touched] // moment
        come = np.concatenate([[0], np.cumsum(np.bincount(first, sizes, _MOMENTS))])
        epoch.window_bytes = int((come[last + 1] - come[first]).max(initial=0))
        self._begin()
        return epoch

    def _begin(self) -> None:
        self._epoch = NodeEpoch()
        self._first_read: Numbers = np.full(self._extents.count, -1, dtype=np.int64)
        self._last_read: Numbers = np.full(self._extents.count, -1, dtype=np.int64)
        self._shards: npt.NDArray[np.bool_] = np.zeros(len(self._sizes.samples), dtype=np.bool_)
