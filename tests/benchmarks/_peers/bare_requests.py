"""The floor of object storage: the bytes of each sample by one ranged request, 16 at a time, not decoded."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from _peers.job import Job
from cluster import storage

THREADS = 16


def open_loader(job: Job) -> Callable[[int], Iterator[int]]:
    """Threads over all samples, shard by shard."""
    shards = storage.read_json(storage.join(job.url, "dataset.json"))["shards"]
    urls = [storage.join(job.url, shard["name"]) for shard in shards]
    indexes = [storage.read_json(f"{url.removesuffix('.tar')}.json") for url in urls]
    ranges = [
        (url, sample["offset"], sample["bytes"])
        for url, index in zip(urls, indexes, strict=True)
        for sample in index["samples"]
    ]

    def epoch(number: int) -> Iterator[int]:
        with ThreadPoolExecutor(THREADS) as threads:
            for content, (url, _, length) in zip(
                threads.map(lambda place: storage.read_range(*place), ranges), ranges, strict=True
            ):
                if len(content) != length:
                    raise RuntimeError(f"{url}: expected {length} bytes, found {len(content)}")
                yield 1

    return epoch
