"""What is in a shard set, and where each sample lies."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cluster import storage
from cluster.errors import StorageError
from cluster.node_cache import NodeCache
from pipeline.errors import ShardSetError
from pipeline.shards.dataset import NAME as DATASET
from pipeline.shards.dataset import ShardEntry, read_dataset
from pipeline.shards.foreign.index import open_foreign
from pipeline.shards.foreign.sample import read_foreign
from pipeline.shards.members import Sample, read_sample
from pipeline.shards.sample_table import SampleTable, SampleTables
from pipeline.video.damage import errors_are_damage

_KEPT_SAMPLES = 400_000
_LOOKED_AT = 16  # shards, to find one whose index is whole


@dataclass(frozen=True)
class SamplePlace:
    """Where a sample lies: bytes `start` to `start + length` of the tar at `url`.

    Attributes:
        crc32: of the contents of its files, one behind the other; None where the index doesn't say.
    """

    url: str
    key: str
    start: int
    length: int
    crc32: int | None


class ShardSet:
    """A finished shard set (`dataset.json` is there), or tars that others wrote with webdataset.

    The places of a shard's samples are read from its index when the first of them is asked for. It can be pickled, and
    then knows the same shards elsewhere.

    Args:
        shards: name and samples of each shard.
        indexes: where the JSON files lie that say where samples are; `url` unless given.
        kept_samples: of about how many samples the places are remembered.
        contents: changes with any byte of the shards; None where nothing says so without reading them.
        videos: of each shard, how many videos gave it samples; None where that isn't known.
        stored: of members with stored features the shape of a sample's, as far as it is noted.
    """

    def __init__(
        self,
        url: str,
        shards: Sequence[tuple[str, int]],
        indexes: str | None = None,
        kept_samples: int = _KEPT_SAMPLES,
        contents: str | None = None,
        videos: Sequence[int] | None = None,
        stored: Mapping[str, tuple[int, ...]] | None = None,
    ) -> None:
        self.url = url
        self.contents = contents
        self.stored = dict(stored or {})
        self.shards = list(shards)
        self.indexes = url if indexes is None else indexes
        self.is_foreign = indexes is not None
        self._videos = None if videos is None else list(videos)
        self._first = _starts(samples for _, samples in self.shards)
        self._first_video = _starts(self._videos or ())
        urls = [storage.join(self.indexes, name.removesuffix(".tar") + ".json") for name, _ in self.shards]
        self._indexes = SampleTables(urls, self.samples_per_shard(), kept_samples)

    def __reduce__(self) -> tuple[Any, ...]:
        indexes = self.indexes if self.is_foreign else None
        known = (self.url, self.shards, indexes, self._indexes.kept_samples, self.contents, self._videos, self.stored)
        return (ShardSet, known)

    @classmethod
    def open(cls, url: str, on_progress: Callable[[], None] = lambda: None) -> "ShardSet":
        """Open a shard set; of tars that others wrote an index is made at the first time.

        Args:
            on_progress: called, from any thread, whenever the index has come further.

        Raises:
            ShardSetError: nothing there, not finished, or empty.
        """
        if not storage.exists(storage.join(url, DATASET)):
            if storage.exists(storage.join(url, "plan.json")):
                raise ShardSetError(f"{url}: its preparation is not finished (no dataset.json); run gavt prepare again")
            foreign = open_foreign(url, on_progress)
            if foreign is None:
                raise ShardSetError(f"{url}: expected a folder of shards with a dataset.json, or of tars, found none")
            return cls(url, foreign.shards, foreign.indexes)
        try:
            dataset = read_dataset(url)
        except StorageError as error:
            raise ShardSetError(str(error)) from None
        shards, members = dataset.shards, (dataset.features or {}).get("members", {})
        if not sum(shard.samples for shard in shards):
            raise ShardSetError(f"{url}: this shard set holds no samples")
        videos = [shard.videos for shard in shards if shard.videos is not None]
        known = videos if len(videos) == len(shards) else None
        names = [(shard.name, shard.samples) for shard in shards]
        stored = {name: tuple(member["shape"]) for name, member in members.items()}
        return cls(url, names, contents=_contents_of(shards), videos=known, stored=stored)

    def __len__(self) -> int:
        return int(self._first[-1])

    def keep_places(self, samples: int) -> None:
        """Remember the places of at least so many samples, for they are read side by side."""
        self._indexes.kept_samples = max(self._indexes.kept_samples, samples)

    def share_indexes(self, cache: NodeCache) -> None:
        """Have indexes fetched once for all processes of a node, where it is known which ones they are."""
        if self.contents is not None and storage.is_remote(self.indexes):
            self._indexes.share(cache, self.contents)

    def samples_per_shard(self) -> list[int]:
        """Samples of each shard, in order."""
        return [samples for _, samples in self.shards]

    def videos_per_shard(self) -> list[int]:
        """Of each shard, in order, how many videos gave it samples.

        Raises:
            ShardSetError: nobody has noted it.
        """
        if self._videos is None:
            where = "tars that others wrote don't say" if self.is_foreign else "its dataset.json doesn't say"
            again = "" if self.is_foreign else f", or remove that file and run gavt prepare --out {self.url} again"
            raise ShardSetError(
                f"{self.url}: expected to know which samples are of one video, for samples_per_video = 1, but {where}; "
                f"set data.samples_per_video=all{again}"
            )
        return self._videos

    def mean_sample_bytes(self) -> float:
        """Bytes of a sample in its tar, about: those of one shard.

        Raises:
            ShardSetError: the indexes of all shards that were looked at are damaged or gone.
        """
        by_size = sorted(range(len(self.shards)), key=lambda number: -self.shards[number][1])
        problem = ShardSetError(f"{self.url}: expected shards, found none")
        for shard in by_size[:_LOOKED_AT]:
            places = self._indexes.of([shard])[shard]
            if not isinstance(places, ShardSetError):
                return float(places.lengths.mean())
            problem = places
        raise problem

    def places(self, indices: Sequence[int] | npt.NDArray[np.int64]) -> list[SamplePlace | ShardSetError]:
        """Where samples lie, by their places in the shard set's own order; an error where a shard's index is damaged or
        gone. Indexes that are not known yet are read at once, many side by side.

        Raises:
            UnreachableError: the storage does not answer.
            IndexError: there is no such sample.
        """
        wanted = np.asarray(indices, dtype=np.int64)
        if len(wanted) and not 0 <= wanted.min() <= wanted.max() < len(self):
            raise IndexError(int(wanted.max()))
        return [
            index if isinstance(index, ShardSetError) else self._place(shard, index, inside)
            for shard, index, inside in self._indexes_of(wanted, self._first)
        ]

    def places_in_videos(self, videos: Sequence[int], shares: Sequence[float]) -> list[SamplePlace | ShardSetError]:
        """Where one sample of each video lies, as `places` says it.

        Args:
            videos: numbers of videos that gave samples, counted over all shards in order.
            shares: 0–1, which of each video's samples.

        Raises:
            UnreachableError: the storage does not answer.
        """
        found: list[SamplePlace | ShardSetError] = []
        wanted = np.asarray(videos, dtype=np.int64)
        for (shard, index, inside), share in zip(self._indexes_of(wanted, self._first_video), shares, strict=True):
            if isinstance(index, ShardSetError):
                found.append(index)
                continue
            try:
                found.append(self._place(shard, index, index.sample_of(inside, share)))
            except ValueError as error:
                found.append(ShardSetError(f"{storage.join(self.url, self.shards[shard][0])}: its index: {error}"))
        return found

    def _indexes_of(
        self, wanted: npt.NDArray[np.int64], first: npt.NDArray[np.int64]
    ) -> Iterator[tuple[int, SampleTable | ShardSetError, int]]:
        """(shard, its index, place in it) of what is counted over all shards in order, each beginning with `first`."""
        shards = np.searchsorted(first, wanted, side="right") - 1
        known = self._indexes.of(dict.fromkeys(shards.tolist()))
        for shard, inside in zip(shards.tolist(), (wanted - first[shards]).tolist(), strict=True):
            yield shard, known[shard], inside

    def _place(self, shard: int, index: SampleTable, inside: int) -> SamplePlace:
        crc32 = int(index.crc32s[inside])
        return SamplePlace(
            storage.join(self.url, self.shards[shard][0]),
            bytes(index.keys[inside]).decode(),
            int(index.starts[inside]),
            int(index.lengths[inside]),
            None if crc32 < 0 else crc32,
        )

    def read(self, index: int) -> Sample:
        """The sample at `index` of the shard set's own order.

        Raises:
            ShardSetError: the shard is damaged or gone.
        """
        place = self.places([index])[0]
        if isinstance(place, ShardSetError):
            raise place
        try:
            return self.parse(place, storage.read_range(place.url, place.start, place.length))
        except (StorageError, ValueError) as error:
            raise ShardSetError(f"{place.url}: sample {place.key} can't be read: {error}") from error

    @errors_are_damage()
    def parse(self, place: SamplePlace, content: bytes) -> Sample:
        """A sample from its bytes.

        Raises:
            ValueError: they are not that sample, whole.
        """
        if len(content) != place.length:
            raise ValueError(f"expected {place.length} bytes, found {len(content)}: the tar is cut off")
        if self.is_foreign:
            return read_foreign(content, place.key, place.url)
        return read_sample(content, place.key, place.crc32)


def _starts(counts: Iterable[int]) -> npt.NDArray[np.int64]:
    """[N + 1] where each of N stretches of these lengths begins, and the end."""
    return np.concatenate([[0], np.cumsum(list(counts))]).astype(np.int64)


def _contents_of(shards: Sequence[ShardEntry]) -> str:
    """A hash of the shards' hashes."""
    return hashlib.sha256("\n".join(shard.sha256 for shard in shards).encode()).hexdigest()[:16]
