"""Where the samples of a shard lie, and which of them are of one video: its JSON as arrays.

Of the shards that `gavt prepare` makes, `shard-000123.json` lists the samples in the order of the tar, and the videos
with how many samples each gave in the same order; so a video's samples follow each other. Of tars that others wrote the
index knows samples only.

`shard_files.ShardIndex` is the same file as an object a sample, which streaming millions of them can't afford.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cluster import storage
from cluster.errors import StorageError, UnreachableError
from cluster.json_text import parse_json
from cluster.node_cache import NodeCache
from pipeline.errors import ShardSetError

_FETCHERS = 16  # at a time, through the node's cache
_LARGEST = 2**63 - 1  # bytes of a tar whose size an index does not say


@dataclass(frozen=True)
class SampleTable:
    """A shard's samples as arrays: a shard set may have 100 million.

    Attributes:
        keys, starts, lengths, crc32s: [N] of each sample; −1 where the checksum isn't known.
        video_ends: [V] samples up to the end of each video that gave any; None where that isn't known.
    """

    keys: npt.NDArray[np.bytes_]
    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    crc32s: npt.NDArray[np.int64]
    video_ends: npt.NDArray[np.int64] | None

    def __len__(self) -> int:
        return len(self.starts)

    def sample_of(self, video: int, share: float) -> int:
        """Place of a video's sample in the shard; `share` in 0–1 chooses it among the video's.

        Raises:
            ValueError: the index does not tell such a video's samples.
        """
        if self.video_ends is None or video >= len(self.video_ends):
            raise ValueError("expected which samples are of one video, found nothing that fits its samples")
        first = int(self.video_ends[video - 1]) if video else 0
        return first + int(share * (int(self.video_ends[video]) - first))


def parse_index(content: bytes) -> SampleTable:
    """The index from the shard's JSON.

    Raises:
        KeyError, TypeError, ValueError, AttributeError, OverflowError: it is none, or a place lies outside the tar.
    """
    index = parse_json(content)
    samples = index["samples"]
    found = SampleTable(
        np.array([sample["key"].encode() for sample in samples], dtype=np.bytes_),
        np.array([sample["offset"] for sample in samples], dtype=np.int64),
        np.array([sample["bytes"] for sample in samples], dtype=np.int64),
        np.array([sample.get("crc32", -1) for sample in samples], dtype=np.int64),
        _video_ends(index.get("inputs", []), len(samples)),
    )
    end = int(index.get("size", index.get("bytes", _LARGEST)))  # of a tar that others wrote, or of our own
    outside = (found.starts < 0) | (found.lengths < 0) | (found.starts > end - found.lengths)
    if outside.any():
        start, length = found.starts[outside][0], found.lengths[outside][0]
        raise ValueError(f"expected places inside the tar's {end} bytes, found {length} bytes at byte {start}")
    return found


def _video_ends(inputs: list[dict[str, Any]], samples: int) -> npt.NDArray[np.int64] | None:
    counts = [entry["samples"] for entry in inputs]
    ends = np.cumsum([count for count in counts if count], dtype=np.int64)
    return ends if len(ends) and ends[-1] == samples else None


class SampleTables:
    """The indexes of a set's shards, each read when it is asked for; some are remembered. Threads may share it.

    Args:
        urls: of each shard's JSON.
        samples: of each shard, as many as its index must have.
        kept_samples: of about how many samples the indexes are remembered.
    """

    def __init__(self, urls: Sequence[str], samples: Sequence[int], kept_samples: int) -> None:
        self.kept_samples = kept_samples
        self._urls, self._samples = urls, samples
        self._remembered: OrderedDict[int, SampleTable | ShardSetError] = OrderedDict()
        self._lock = threading.Lock()
        self._cache: NodeCache | None = None
        self._tag = ""

    def share(self, cache: NodeCache, tag: str) -> None:
        """Have indexes fetched once for all processes of the node.

        Args:
            tag: changes with any byte of the shards.
        """
        self._cache, self._tag = cache, tag

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._remembered)

    def of(self, shards: Iterable[int]) -> dict[int, SampleTable | ShardSetError]:
        """By the numbers of shards, each once, their indexes; an error where one is damaged or gone. Those that are not
        known yet are read at once, many side by side.

        Raises:
            UnreachableError: the storage does not answer.
        """
        with self._lock:
            known = {shard: self._remembered[shard] for shard in shards if shard in self._remembered}
            for shard in known:
                self._remembered.move_to_end(shard)
        missing = [shard for shard in shards if shard not in known]
        if not missing:
            return known
        read = dict(zip(missing, self._read(missing), strict=True))
        with self._lock:
            self._remembered.update(read)
            kept = sum(_samples_of(index) for index in self._remembered.values())
            while kept > self.kept_samples and len(self._remembered) > len(read):
                kept -= _samples_of(self._remembered.popitem(last=False)[1])
        return known | read

    def _read(self, shards: Sequence[int]) -> list[SampleTable | ShardSetError]:
        contents = self._fetch([self._urls[shard] for shard in shards])
        for content in contents:
            if isinstance(content, UnreachableError):
                raise content
        return [self._parse(shard, content) for shard, content in zip(shards, contents, strict=True)]

    def _fetch(self, urls: Sequence[str]) -> list[bytes | StorageError]:
        if self._cache is None:
            return list(storage.read_each(urls))
        with ThreadPoolExecutor(_FETCHERS) as threads:
            return list(threads.map(self._fetch_once, urls))

    def _fetch_once(self, url: str) -> bytes | StorageError:
        """An index through the node's cache, which is on a disk that may fail."""
        assert self._cache is not None
        try:
            return self._cache.once(url, "index", self._tag, lambda: storage.read_bytes(url), parse_json)
        except StorageError as error:
            return error

    def _parse(self, shard: int, content: bytes | StorageError) -> SampleTable | ShardSetError:
        if isinstance(content, StorageError):
            return ShardSetError(str(content))
        url, samples = self._urls[shard], self._samples[shard]
        try:
            index = parse_index(content)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            return ShardSetError(f"{url}: expected the places of the shard's samples: {error!r}")
        if len(index) != samples:
            return ShardSetError(
                f"{url}: expected {samples} samples as when the shard set was opened, found {len(index)}"
            )
        return index


def _samples_of(index: SampleTable | ShardSetError) -> int:
    return 0 if isinstance(index, ShardSetError) else len(index)
