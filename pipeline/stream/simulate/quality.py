"""How well an order mixes: whether neighbours come from the same shard."""

from dataclasses import dataclass

import numpy as np

from pipeline.stream.order import Numbers, Order

_SAMPLES = 1_000_000


@dataclass(frozen=True)
class ShuffleQuality:
    """Of neighbours in the order of an epoch.

    Attributes:
        same_shard: share of them that come from one shard.
        correlation: of the numbers of their shards.
        buffer_samples: size of the shuffle buffer over shuffled shards that does as well.
    """

    same_shard: float
    correlation: float
    buffer_samples: int


def shuffle_quality(order: Order, epoch: int = 0) -> ShuffleQuality:
    """Of an epoch, or of its first million samples."""
    shards = order.shard_of(order.samples_at(epoch, range(min(len(order), _SAMPLES))))
    same, correlation = neighbours(shards)
    # ages in a buffer are distributed geometrically: two samples are of one shard once in 2 · buffer / shard
    sizes = np.bincount(shards)
    mean_shard = float(np.average(sizes[sizes > 0], weights=sizes[sizes > 0]))
    return ShuffleQuality(same, correlation, round(min(len(order), mean_shard / (2 * same))) if same else len(order))


def neighbours(shards: Numbers) -> tuple[float, float]:
    """Share of neighbours that are equal, and the correlation of neighbours (0 where all are equal)."""
    if len(shards) < 2:
        return 0.0, 0.0
    before, after = shards[:-1], shards[1:]
    spread = float(before.std() * after.std())
    covariance = float(((before - before.mean()) * (after - after.mean())).mean())
    return float(np.mean(before == after)), covariance / spread if spread else 0.0
