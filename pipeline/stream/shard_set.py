"""What is in a shard set, and where each sample lies."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cluster import storage
from cluster.errors import StorageError, UnreachableError
from cluster.json_text import parse_json
from pipeline.errors import ShardSetError
from pipeline.samples.damage import errors_are_damage
from pipeline.stream.foreign.index import open_foreign
from pipeline.stream.foreign.sample import read_foreign
from pipeline.stream.members import Sample, read_sample

_KEPT_SAMPLES = 400_000
_LOOKED_AT = 16  # shards, to find one whose index is whole


@dataclass(frozen=True)
class Place:
    """Where a sample lies: bytes `start` to `start + length` of the tar at `url`.

    Attributes:
        crc32: of the contents of its files, one behind the other; None where the index doesn't say.
    """

    url: str
    key: str
    start: int
    length: int
    crc32: int | None


@dataclass(frozen=True)
class _Places:
    """The places of a shard's samples, as arrays: a shard set may have 100 million."""

    keys: npt.NDArray[np.bytes_]
    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    crc32s: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts)


class ShardSet:
    """A finished shard set (`dataset.json` is there), or tars that others wrote with webdataset.

    The places of a shard's samples are read from its index when the first of them is asked for. It can be pickled, and
    then knows the same shards elsewhere.

    Args:
        shards: name and samples of each shard.
        indexes: where the JSON files lie that say where samples are; `url` unless given.
        kept_samples: of about how many samples the places are remembered.
        contents: changes with any byte of the shards; None where nothing says so without reading them.
    """

    def __init__(
        self,
        url: str,
        shards: Sequence[tuple[str, int]],
        indexes: str | None = None,
        kept_samples: int = _KEPT_SAMPLES,
        contents: str | None = None,
    ) -> None:
        self.url = url
        self.contents = contents
        self.shards = list(shards)
        self.indexes = url if indexes is None else indexes
        self.is_foreign = indexes is not None
        self._first = np.concatenate([[0], np.cumsum([samples for _, samples in self.shards])]).astype(np.int64)
        self._kept_samples = kept_samples
        self._places: OrderedDict[int, _Places | ShardSetError] = OrderedDict()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        indexes = self.indexes if self.is_foreign else None
        return (ShardSet, (self.url, self.shards, indexes, self._kept_samples, self.contents))

    @classmethod
    def open(cls, url: str, moved: Callable[[], None] = lambda: None) -> "ShardSet":
        """Open a shard set; of tars that others wrote an index is made at the first time.

        Args:
            moved: called, from any thread, whenever the index has come further.

        Raises:
            ShardSetError: nothing there, not finished, or empty.
        """
        dataset_url = storage.join(url, "dataset.json")
        if not storage.exists(dataset_url):
            if storage.exists(storage.join(url, "plan.json")):
                raise ShardSetError(f"{url}: its preparation is not finished (no dataset.json); run gavt prepare again")
            foreign = open_foreign(url, moved)
            if foreign is None:
                raise ShardSetError(f"{url}: expected a folder of shards with a dataset.json, or of tars, found none")
            return cls(url, foreign.shards, foreign.indexes)
        dataset = _read_json(dataset_url)
        try:
            shards = [(shard["name"], int(shard["samples"])) for shard in dataset["shards"]]
        except (KeyError, TypeError, ValueError) as error:
            raise ShardSetError(f"{dataset_url}: expected a list of shards with their samples: {error!r}") from None
        if not sum(samples for _, samples in shards):
            raise ShardSetError(f"{url}: this shard set holds no samples")
        return cls(url, shards, contents=_contents_of(dataset["shards"]))

    def __len__(self) -> int:
        return int(self._first[-1])

    def keep_places(self, samples: int) -> None:
        """Remember the places of at least so many samples, for they are read side by side."""
        self._kept_samples = max(self._kept_samples, samples)

    def samples_per_shard(self) -> list[int]:
        """Samples of each shard, in order."""
        return [samples for _, samples in self.shards]

    def mean_sample_bytes(self) -> float:
        """Bytes of a sample in its tar, about: those of one shard.

        Raises:
            ShardSetError: the indexes of all shards that were looked at are damaged or gone.
        """
        by_size = sorted(range(len(self.shards)), key=lambda number: -self.shards[number][1])
        problem = ShardSetError(f"{self.url}: expected shards, found none")
        for shard in by_size[:_LOOKED_AT]:
            places = self._known([shard])[shard]
            if not isinstance(places, ShardSetError):
                return float(places.lengths.mean())
            problem = places
        raise problem

    def places(self, indices: Sequence[int] | npt.NDArray[np.int64]) -> list[Place | ShardSetError]:
        """Where samples lie, by their places in the shard set's own order; an error where a shard's index is damaged or
        gone. Indexes that are not known yet are read at once, many side by side.

        Raises:
            UnreachableError: the storage does not answer.
            IndexError: there is no such sample.
        """
        wanted = np.asarray(indices, dtype=np.int64)
        if len(wanted) and not 0 <= wanted.min() <= wanted.max() < len(self):
            raise IndexError(int(wanted.max()))
        shards = np.searchsorted(self._first, wanted, side="right") - 1
        known = self._known(dict.fromkeys(shards.tolist()))
        found: list[Place | ShardSetError] = []
        for shard, inside in zip(shards.tolist(), (wanted - self._first[shards]).tolist(), strict=True):
            places = known[shard]
            if isinstance(places, ShardSetError):
                found.append(places)
                continue
            crc32 = int(places.crc32s[inside])
            found.append(
                Place(
                    storage.join(self.url, self.shards[shard][0]),
                    bytes(places.keys[inside]).decode(),
                    int(places.starts[inside]),
                    int(places.lengths[inside]),
                    None if crc32 < 0 else crc32,
                )
            )
        return found

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
    def parse(self, place: Place, content: bytes) -> Sample:
        """A sample from its bytes.

        Raises:
            ValueError: they are not that sample, whole.
        """
        if len(content) != place.length:
            raise ValueError(f"expected {place.length} bytes, found {len(content)}: the tar is cut off")
        if self.is_foreign:
            return read_foreign(content, place.key, place.url)
        return read_sample(content, place.key, place.crc32)

    def _known(self, shards: Iterable[int]) -> dict[int, _Places | ShardSetError]:
        with self._lock:
            known = {shard: self._places[shard] for shard in shards if shard in self._places}
            for shard in known:
                self._places.move_to_end(shard)
        missing = [shard for shard in shards if shard not in known]
        if not missing:
            return known
        read = dict(zip(missing, self._read_indexes(missing), strict=True))
        with self._lock:
            self._places.update(read)
            kept = sum(0 if isinstance(places, ShardSetError) else len(places) for places in self._places.values())
            while kept > self._kept_samples and len(self._places) > len(read):
                _, oldest = self._places.popitem(last=False)
                kept -= 0 if isinstance(oldest, ShardSetError) else len(oldest)
        return known | read

    def _read_indexes(self, shards: Sequence[int]) -> list[_Places | ShardSetError]:
        urls = [storage.join(self.indexes, self.shards[shard][0].removesuffix(".tar") + ".json") for shard in shards]
        contents = list(storage.read_each(urls))
        for content in contents:
            if isinstance(content, UnreachableError):
                raise content
        return [
            self._parse_index(shard, url, content) for shard, url, content in zip(shards, urls, contents, strict=True)
        ]

    def _parse_index(self, shard: int, url: str, content: bytes | StorageError) -> _Places | ShardSetError:
        if isinstance(content, StorageError):
            return ShardSetError(str(content))
        try:
            samples = parse_json(content)["samples"]
            places = _Places(
                np.array([sample["key"].encode() for sample in samples], dtype=np.bytes_),
                np.array([sample["offset"] for sample in samples], dtype=np.int64),
                np.array([sample["bytes"] for sample in samples], dtype=np.int64),
                np.array([sample.get("crc32", -1) for sample in samples], dtype=np.int64),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            return ShardSetError(f"{url}: expected the places of the shard's samples: {error!r}")
        if len(places) != self.shards[shard][1]:
            return ShardSetError(
                f"{url}: expected {self.shards[shard][1]} samples as when the shard set was opened, found {len(places)}"
            )
        return places


def _contents_of(shards: Sequence[dict[str, Any]]) -> str | None:
    """A hash of the shards' hashes; None where one has none."""
    hashes = [shard.get("sha256") for shard in shards]
    if not all(isinstance(one, str) for one in hashes):
        return None
    return hashlib.sha256("\n".join(map(str, hashes)).encode()).hexdigest()[:16]


def _read_json(url: str) -> dict[str, Any]:
    try:
        return storage.read_json(url)
    except StorageError as error:
        raise ShardSetError(str(error)) from None
