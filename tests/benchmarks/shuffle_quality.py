"""How well neighbours are mixed, beside webdataset's buffer of 10 000 samples over shuffled shards."""

import random
from collections.abc import Iterator
from statistics import mean

import numpy as np
import numpy.typing as npt
import webdataset

from pipeline.stream.order import Order
from pipeline.stream.settings import DataSettings
from result import Result

SHARDS = 100
SAMPLES_PER_SHARD = 1000
BUFFER = 10_000
SEEDS = 20

Shards = npt.NDArray[np.int64]


def run() -> list[Result]:
    """Mean over seeds: how often a sample comes from the shard of the one before, and the correlation of their shards'
    numbers."""
    ours = [_judge(_our_order(seed)) for seed in range(SEEDS)]
    theirs = [_judge(_buffer_order(seed)) for seed in range(SEEDS)]
    results = []
    for at, name in enumerate(("same shard", "correlation")):
        figure, limit = mean(one[at] for one in ours), mean(one[at] for one in theirs)
        spread = np.std([one[at] for one in theirs])
        peer = f"webdataset, shards shuffled, shuffle({BUFFER}): {limit:.4f} ± {spread:.4f}; {SEEDS} seeds"
        results.append(Result(f"shuffle_quality {name}", figure, "", limit, figure <= limit, peer))
    return results


def _our_order(seed: int) -> Shards:
    data = DataSettings()
    order = Order([SAMPLES_PER_SHARD] * SHARDS, seed, data.block_samples, data.lanes)
    return order.shard_of(order.samples_at(0, range(len(order))))


def _buffer_order(seed: int) -> Shards:
    shards = list(range(SHARDS))
    random.Random(seed).shuffle(shards)

    def read() -> Iterator[int]:
        for shard in shards:
            yield from [shard] * SAMPLES_PER_SHARD

    shuffled = webdataset.DataPipeline(read, webdataset.shuffle(BUFFER, initial=BUFFER, seed=seed))
    return np.fromiter(shuffled, dtype=np.int64)


def _judge(shards: Shards) -> tuple[float, float]:
    """Share of neighbours of one shard, and the correlation of neighbours' numbers of shards."""
    if len(shards) != SHARDS * SAMPLES_PER_SHARD or len(np.unique(shards)) != SHARDS:
        raise RuntimeError(f"expected {SHARDS * SAMPLES_PER_SHARD} samples of {SHARDS} shards, found {len(shards)}")
    before, after = shards[:-1], shards[1:]
    return float(np.mean(before == after)), float(np.corrcoef(before, after)[0, 1])
