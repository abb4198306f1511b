"""How large the shards are: of a real shard set, or of one that is only thought of."""

from dataclasses import dataclass

import numpy as np

from cluster import storage
from pipeline.errors import ShardSetError
from pipeline.stream.order import Numbers


@dataclass(frozen=True)
class ShardSizes:
    """A shard set by its sizes.

    Attributes:
        samples: [N] of each shard.
        bytes: [N] of each shard's tar.
        shown: [N] samples of each shard that an epoch shows: all, or as many as there are videos.
    """

    samples: Numbers
    bytes: Numbers
    shown: Numbers

    def __len__(self) -> int:
        """Samples that are stored in all."""
        return int(self.samples.sum())

    @classmethod
    def imagined(
        cls, shards: int, samples_per_shard: int, sample_bytes: int, shown_per_shard: int | None = None
    ) -> "ShardSizes":
        """Equal shards, of which an epoch shows all samples unless said otherwise."""
        samples = np.full(shards, samples_per_shard)
        shown = samples if shown_per_shard is None else np.full(shards, shown_per_shard)
        return cls(samples, samples * sample_bytes, shown)

    @classmethod
    def of(cls, url: str, by_video: bool = False) -> "ShardSizes":
        """The sizes of a finished shard set, or of tars that others wrote.

        Args:
            by_video: an epoch shows one sample of each video.

        Raises:
            ShardSetError: there is none, or its totals are damaged, or don't say how many videos there are.
        """
        from pipeline.shards.shard_set import ShardSet
        from pipeline.stream.read_plan import shown_per_shard

        found = ShardSet.open(url)
        sizes = {file.url.rsplit("/", 1)[-1]: file.size for file in storage.list_files(url)}
        missing = [name for name, _ in found.shards if name not in sizes]
        if missing:
            raise ShardSetError(f"{storage.join(url, missing[0])}: expected a shard, found no such file")
        return cls(
            np.array(found.samples_per_shard()),
            np.array([sizes[name] for name, _ in found.shards]),
            np.array(shown_per_shard(found, by_video)),
        )

    def stored(self, shown: Numbers, shards: Numbers, generator: np.random.Generator) -> Numbers:
        """Places among all stored samples of what an epoch shows [N], each of a shard: some of the samples of its
        video, which are taken to be equally many."""
        if self.shown is self.samples or (self.shown == self.samples).all():
            return shown
        first_shown, first = (np.concatenate([[0], np.cumsum(one)[:-1]]) for one in (self.shown, self.samples))
        inside = shown - first_shown[shards] + generator.random(len(shown))
        return first[shards] + (inside * self.samples[shards] / self.shown[shards]).astype(np.int64)  # type: ignore[no-any-return]

    def every(self, step: int) -> "ShardSizes":
        """One shard in `step`."""
        return ShardSizes(self.samples[::step], self.bytes[::step], self.shown[::step])
