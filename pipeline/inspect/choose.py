"""Samples of a shard set by chance, the same ones for the same seed, without reading what was not chosen."""

import random
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate, islice
from typing import TypeVar

from cluster import storage
from pipeline.inspect.contents import Contents
from pipeline.shards.shard_files import SampleEntry, ShardIndex, read_indexes, shard_name

_READERS = 16  # object storage answers many small requests at once as fast as one
_AT_ONCE = 256
T = TypeVar("T")


@dataclass(frozen=True)
class ChosenSample:
    """A sample: the tar that it lies in and its line of the shard's JSON."""

    tar: str
    entry: SampleEntry


def choose(contents: Contents, count: int, seed: int, known: dict[int, ShardIndex] | None = None) -> list[ChosenSample]:
    """`count` samples by chance, or all where there are fewer, in the order of the shard set.

    Args:
        known: the JSON files of a shard set without totals, those that were read.
    """
    if contents.dataset is not None:
        numbers = list(range(len(contents.dataset.shards)))
        sizes = [shard.samples for shard in contents.dataset.shards]
    else:
        numbers = sorted(known or {})
        sizes = [len((known or {})[number].samples) for number in numbers]
    ends = list(accumulate(sizes))
    total = ends[-1] if ends else 0
    places: dict[int, list[int]] = defaultdict(list)
    for position in sorted(random.Random(seed).sample(range(total), min(count, total))):
        shard = bisect_right(ends, position)
        places[shard].append(position - (ends[shard - 1] if shard else 0))
    wanted = [numbers[shard] for shard in places]
    indexes = [known[number] for number in wanted] if known else read_indexes(contents.url, wanted)
    return [
        ChosenSample(f"{shard_name(number)}.tar", index.samples[place])
        for number, index, chosen in zip(wanted, indexes, places.values(), strict=True)
        for place in chosen
        if place < len(index.samples)
    ]


def every(contents: Contents) -> Iterator[ChosenSample]:
    """All samples of the shards that are done, in order."""
    for number, index in zip(contents.done, read_indexes(contents.url, contents.done), strict=True):
        for entry in index.samples:
            yield ChosenSample(f"{shard_name(number)}.tar", entry)


def read_each(
    contents: Contents,
    chosen: Iterable[ChosenSample],
    most_bytes: int | None,
    use: Callable[[ChosenSample, bytes], T],
) -> Iterator[T]:
    """What `use` makes of the bytes of each sample, in order; many are read at a time, and few held.

    Args:
        most_bytes: only so many from the sample's beginning; None reads it whole.
    """
    waiting = iter(chosen)

    def read(one: ChosenSample) -> T:
        length = one.entry.bytes if most_bytes is None else min(most_bytes, one.entry.bytes)
        return use(one, storage.read_range(storage.join(contents.url, one.tar), one.entry.offset, length))

    with ThreadPoolExecutor(_READERS) as readers:
        while block := list(islice(waiting, _AT_ONCE)):
            yield from readers.map(read, block)
