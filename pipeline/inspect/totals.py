"""Videos, failures and samples of a shard set: from `dataset.json`, or from the shards that are there so far."""

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from pipeline.inspect.contents import Contents
from pipeline.shards.shard_files import ShardIndex, read_indexes

_MOST_INDEXES = 500
"""Shards of an unfinished set whose JSON is read where not all samples are looked at."""


@dataclass
class ShardSetTotals:
    """Counts of a shard set.

    Attributes:
        estimated: worked out from some of the shards.
        examples: reason → a failed video, as a sentence.
        per_shard: samples of each shard that was looked at.
    """

    videos: int = 0
    failed: int = 0
    samples: int = 0
    estimated: bool = False
    reasons: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    per_shard: list[int] = field(default_factory=list)


def some_indexes(contents: Contents, seed: int) -> dict[int, ShardIndex]:
    """Number → JSON of the shards that are there, or of 500 of them by chance."""
    numbers = contents.done
    if len(numbers) > _MOST_INDEXES:
        numbers = sorted(random.Random(seed).sample(numbers, _MOST_INDEXES))
    return dict(zip(numbers, read_indexes(contents.url, numbers), strict=True))


def count(contents: Contents, known: Iterable[ShardIndex]) -> ShardSetTotals:
    """The totals.

    Args:
        known: JSON files of an unfinished set; not read where `dataset.json` is there.
    """
    dataset = contents.dataset
    if dataset is not None:
        return ShardSetTotals(
            dataset.videos,
            dataset.failed,
            dataset.samples,
            False,
            Counter(dataset.reasons),
            dataset.examples,
            [shard.samples for shard in dataset.shards],
        )
    totals = ShardSetTotals()
    for index in known:
        totals.per_shard.append(len(index.samples))
        for entry in index.inputs:
            totals.videos += 1
            totals.samples += entry.samples
            if entry.reason is not None:
                totals.failed += 1
                totals.reasons[entry.reason] += 1
                totals.examples.setdefault(entry.reason, f"{entry.source}: {entry.message}")
    if totals.per_shard and len(totals.per_shard) < len(contents.done):
        factor = len(contents.done) / len(totals.per_shard)
        totals.estimated = True
        totals.videos = round(totals.videos * factor)
        totals.failed = round(totals.failed * factor)
        totals.samples = round(totals.samples * factor)
        totals.reasons = Counter({reason: round(times * factor) for reason, times in totals.reasons.items()})
    return totals
