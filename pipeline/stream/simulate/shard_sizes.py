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
    """

    samples: Numbers
    bytes: Numbers

    def __len__(self) -> int:
        """Samples in all."""
        return int(self.samples.sum())

    @classmethod
    def imagined(cls, shards: int, samples_per_shard: int, sample_bytes: int) -> "ShardSizes":
        """Equal shards."""
        return cls(np.full(shards, samples_per_shard), np.full(shards, samples_per_shard * sample_bytes))

    @classmethod
    def of(cls, url: str) -> "ShardSizes":
        """The sizes of a finished shard set, or of tars that others wrote.

        Raises:
            ShardSetError: there is none, or its totals are damaged.
        """
        from pipeline.stream.shard_set import ShardSet

        found = ShardSet.open(url)
        sizes = {file.url.rsplit("/", 1)[-1]: file.size for file in storage.list_files(url)}
        missing = [name for name, _ in found.shards if name not in sizes]
        if missing:
            raise ShardSetError(f"{storage.join(url, missing[0])}: expected a shard, found no such file")
        return cls(np.array(found.samples_per_shard()), np.array([sizes[name] for name, _ in found.shards]))

    def every(self, step: int) -> "ShardSizes":
        """One shard in `step`."""
        return ShardSizes(self.samples[::step], self.bytes[::step])
