"""The shard set that features are made of, shard by shard."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from cluster.errors import StorageError
from pipeline.errors import ShardSetError
from pipeline.extract.networks.contract import Moments
from pipeline.extract.settings import ExtractSettings
from pipeline.prepare.layouts.sample import key_of
from pipeline.prepare.plan import hash_of
from pipeline.samples.metadata import SampleMetadata
from pipeline.shards.dataset import read_dataset
from pipeline.shards.ledger import InputEntry
from pipeline.shards.shard_files import read_indexes
from pipeline.shards.shard_set import ShardSet

_LOOKED_AT = 16


@dataclass(frozen=True)
class Source:
    """Where samples come from.

    Attributes:
        first: what is known of the first sample that can be read.
        videos: in all.
    """

    shards: ShardSet
    first: SampleMetadata
    videos: int

    @classmethod
    def open(cls, url: str, settings: ExtractSettings) -> "Source":
        """A finished shard set, or tars that others wrote.

        Raises:
            ShardSetError: there is none, or none of its first samples can be read, or of others' tars the media are to
                be kept.
        """
        shards = ShardSet.open(url)
        if shards.is_foreign and settings.keep_media:
            raise ShardSetError(f"{url}: --keep-media: expected a shard set of gavt prepare, found tars of others")
        videos = len(shards) if shards.is_foreign else read_dataset(url).videos
        return cls(shards, _first_of(shards), videos)

    @cached_property
    def _starts(self) -> list[int]:
        """Of each shard the place of its first sample, and the end."""
        return [0, *accumulate(self.shards.samples_per_shard())]

    @property
    def contents(self) -> str:
        """Changes with the samples."""
        return self.shards.contents or hash_of(self.shards.shards)

    def moments(self, settings: ExtractSettings) -> Moments:
        """When its samples are looked at."""
        suggested = Moments.of(self.first)
        if settings.seconds is None:
            return suggested
        if self.first.layout != "clip":
            raise ShardSetError(
                f"{self.shards.url}: --seconds: expected clips, found layout {self.first.layout}, whose samples say it"
            )
        return Moments(settings.seconds, 1.0)

    def pieces(self, number: int, size: int) -> Iterator[range]:
        """Places in the set of the samples of a shard, at most `size` together."""
        first, stop = self._starts[number : number + 2]
        return (range(start, min(start + size, stop)) for start in range(first, stop, size))

    def inputs(self, number: int) -> list[InputEntry]:
        """The ledger's lines of a shard; of others' tars each sample is a video."""
        if not self.shards.is_foreign:
            (index,) = read_indexes(self.shards.url, [number])
            return index.inputs
        name, _ = self.shards.shards[number]
        found = []
        for place in self.shards.places(range(*self._starts[number : number + 2])):
            if isinstance(place, ShardSetError):
                raise place
            source = f"{name}#{place.key}"
            found.append(InputEntry(video=place.key, source=source, status="ok", attempts=1, samples=1))
        return found

    def key(self, key: str) -> str:
        """What a sample is called in the new set."""
        return f"{key_of(key)}_0000" if self.shards.is_foreign else key


def _first_of(shards: ShardSet) -> SampleMetadata:
    problem: Exception = ShardSetError(f"{shards.url}: expected samples, found none")
    for place in range(min(_LOOKED_AT, len(shards))):
        try:
            return shards.read(place).metadata
        except (ShardSetError, StorageError) as error:
            problem = error
    raise ShardSetError(f"{shards.url}: none of the first {_LOOKED_AT} samples can be read: {problem}")
