"""Whether and how remote shards are kept on the node: what the order needs at hand must have room."""

import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from cluster import node_cache, storage
from cluster.node_cache import NodeCache
from cluster.patience import wait_for_turn
from pipeline.shards.shard_set import ShardSet
from pipeline.stream.order import Order
from pipeline.stream.settings import DataSettings

_log = logging.getLogger(__name__)
_MARGIN = 1.6  # blocks end with a shard, some later than others: measured up to 1.48


@dataclass(frozen=True)
class CachePlan:
    """A node's cache.

    Attributes:
        ring_bytes: of the `max_bytes`, what is left to samples that are shown soon; the rest is kept for later epochs.
        nodes: that begin to read at the same moment.
        opening: another one each time that the data are opened. What a process finds out of a shard holds for those of
            its node that have the same one, and for nobody later.
    """

    folder: str
    max_bytes: int
    ring_bytes: int
    nodes: int = 1
    opening: str = field(default_factory=lambda: secrets.token_hex(8))

    def open(self) -> NodeCache:
        """The cache, for one process."""
        return NodeCache(self.folder, self.max_bytes, ring_bytes=self.ring_bytes)

    def wait_for_turn(self, cache: NodeCache) -> None:
        """Wait for the moment at which this node begins to read, the same for all of its processes."""

        def wait() -> bytes:
            wait_for_turn(self.nodes)
            return b""

        if self.nodes > 1:
            cache.once(f"{self.folder}/turn", "turn", self.opening, wait, bool)


def plan_cache(sets: Sequence[ShardSet], orders: Sequence[Order], data: DataSettings, nodes: int) -> CachePlan | None:
    """How a node keeps what it reads; None where everything is local, or the cache is too small to help.

    Every block that is being read must stay until its last sample was shown: a cache that drops it before would fetch
    an extent of many samples for each sample.

    Args:
        nodes: that share the work.
    """
    remote = [(one, order) for one, order in zip(sets, orders, strict=True) if storage.is_remote(one.url)]
    max_bytes = int(data.cache.gigabytes * 1e9)
    if not remote or not max_bytes:
        return None
    # where an epoch shows one sample of each video, the others lie between them all the same
    needed = sum(bytes_at_hand(order, one.mean_sample_bytes() * len(one) / len(order), nodes) for one, order in remote)
    if needed > max_bytes:
        _log.warning(
            "data.cache.gigabytes = %g is too little for the samples that are shuffled among themselves (%.3g GB on a "
            "node): every sample is asked for by itself, and again in every epoch; make the cache larger, or "
            "data.block_samples or data.lanes smaller",
            data.cache.gigabytes,
            needed / 1e9,
        )
        return None
    folder = data.cache.folder or str(node_cache.default_folder())
    return CachePlan(folder, max_bytes, max(needed, max_bytes // 4), nodes)


def bytes_at_hand(order: Order, sample_bytes: float, nodes: int) -> int:
    """Bytes of the blocks that one of `nodes` nodes reads at a time.

    Args:
        sample_bytes: of the shards, for each sample that an epoch shows.
    """
    lanes = -(-order.lanes // nodes)
    block = min(order.block_samples, len(order) / order.lanes)
    return int(min(lanes * block, len(order)) * sample_bytes * _MARGIN)
