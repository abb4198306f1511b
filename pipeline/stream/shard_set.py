"""Reading a shard set: what is in it, and one sample by its number."""

import io
import tarfile
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from pydantic import ValidationError

from cluster import storage
from cluster.errors import StorageError
from pipeline.errors import ShardSetError
from pipeline.samples.metadata import SampleMetadata


@dataclass(frozen=True)
class Sample:
    """One sample as it lies in the shard.

    Attributes:
        images: JPEG, in order: one of layout `frame`, n of layout `segments`, none of layout `clip`.
        audio: FLAC.
        clip: MP4 of layout `clip`.
    """

    key: str
    metadata: SampleMetadata
    images: list[bytes]
    audio: bytes
    clip: bytes | None = None


@dataclass(frozen=True)
class _Place:
    key: str
    offset: int
    bytes: int


class ShardSet:
    """A finished shard set (`dataset.json` is there), on local disk or object storage.

    The byte places of a shard's samples are read from its `shard-*.json` when the first of them is asked for; a sample
    is then one read of its byte range.
    """

    def __init__(self, url: str, shards: Sequence[tuple[str, int]]) -> None:
        self.url = url
        self.shards = list(shards)
        self._ends = list(accumulate(samples for _, samples in shards))
        self._places: dict[int, list[_Place]] = {}

    @classmethod
    def open(cls, url: str) -> "ShardSet":
        """Open a shard set.

        Raises:
            ShardSetError: nothing there, not finished, or empty.
        """
        dataset_url = storage.join(url, "dataset.json")
        if not storage.exists(dataset_url):
            if storage.exists(storage.join(url, "plan.json")):
                raise ShardSetError(f"{url}: its preparation is not finished (no dataset.json); run gavt prepare again")
            raise ShardSetError(f"{url}: expected a folder of shards with a dataset.json, found none")
        dataset = _read_json(dataset_url)
        try:
            shards = [(shard["name"], int(shard["samples"])) for shard in dataset["shards"]]
        except (KeyError, TypeError, ValueError) as error:
            raise ShardSetError(f"{dataset_url}: expected a list of shards with their samples: {error!r}") from None
        if not sum(samples for _, samples in shards):
            raise ShardSetError(f"{url}: this shard set holds no samples")
        return cls(url, shards)

    def __len__(self) -> int:
        return self._ends[-1]

    def samples_per_shard(self) -> list[int]:
        """Samples of each shard, in order."""
        return [samples for _, samples in self.shards]

    def read(self, index: int) -> Sample:
        """The sample at `index` of the shard set's own order.

        Raises:
            ShardSetError: the shard is damaged or gone.
        """
        if not 0 <= index < len(self):
            raise IndexError(index)
        shard = bisect_right(self._ends, index)
        name = self.shards[shard][0]
        place = self._places_of(shard)[index - (self._ends[shard - 1] if shard else 0)]
        url = storage.join(self.url, name)
        try:
            return read_sample(storage.read_range(url, place.offset, place.bytes), place.key)
        except (StorageError, ValueError) as error:
            raise ShardSetError(f"{url}: sample {place.key} can't be read: {error}") from error

    def _places_of(self, shard: int) -> list[_Place]:
        places = self._places.get(shard)
        if places is None:
            name, samples = self.shards[shard]
            url = storage.join(self.url, name.removesuffix(".tar") + ".json")
            try:
                places = [_Place(s["key"], s["offset"], s["bytes"]) for s in _read_json(url)["samples"]]
            except (KeyError, TypeError) as error:
                raise ShardSetError(f"{url}: expected the places of the shard's samples: {error!r}") from None
            if len(places) != samples:
                raise ShardSetError(f"{url}: expected {samples} samples as dataset.json says, found {len(places)}")
            self._places[shard] = places
        return places


def read_sample(content: bytes, key: str) -> Sample:
    """A sample from the bytes of its tar members.

    Raises:
        ValueError: not a whole sample of that key.
    """
    parts: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as members:
            for member in members:
                name, _, extension = member.name.partition(".")
                data = members.extractfile(member)
                if name == key and data is not None:
                    parts[extension] = data.read()
        metadata = SampleMetadata.model_validate_json(parts["json"])
        images = [parts[name] for name in sorted(parts) if name.endswith("jpg")]
        clip = parts["mp4"] if metadata.layout == "clip" else None
        return Sample(key, metadata, images, parts["flac"], clip)
    except tarfile.TarError as error:
        raise ValueError(f"damaged tar ({error})") from error
    except KeyError as error:
        raise ValueError(f"no {key}.{error.args[0]} in it") from None
    except ValidationError as error:
        problem = error.errors()[0]
        raise ValueError(f"{key}.json: {'.'.join(map(str, problem['loc']))}: {problem['msg']}") from None


def _read_json(url: str) -> dict[str, Any]:
    try:
        return storage.read_json(url)
    except StorageError as error:
        raise ShardSetError(str(error)) from None
