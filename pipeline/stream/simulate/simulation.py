"""A planned job gone through without reading: which node reads which extents when, and what its cache has of them."""

from dataclasses import dataclass, field
from statistics import mean

import numpy as np

from cluster.node_cache import EXTENT_BYTES
from pipeline.errors import SettingsError, ShardSetError
from pipeline.stream.cache_plan import bytes_at_hand
from pipeline.stream.order import RUN, Numbers, Order
from pipeline.stream.randomness import keyed_generator
from pipeline.stream.read_plan import order_of
from pipeline.stream.settings import DataSettings
from pipeline.stream.simulate.cache_model import CacheModel
from pipeline.stream.simulate.node import Extents, Node, NodeEpoch
from pipeline.stream.simulate.quality import ShuffleQuality, shuffle_quality
from pipeline.stream.simulate.shard_sizes import ShardSizes
from pipeline.stream.steps import dealt

_MOST_READS = 20_000_000
"""Samples that are gone through; beyond, fewer nodes or shards stand for all."""
_PIECE = 1 << 17
_LEAST_BLOCKS = 4
"""Blocks a lane of a set that is scaled down."""


@dataclass(frozen=True)
class PlannedJob:
    """A planned job.

    Attributes:
        batch_size: samples of a step, over all ranks.
        samples_per_s: of the whole job, for the load on the storage.
    """

    nodes: int
    ranks_per_node: int
    batch_size: int
    data: DataSettings
    epochs: int = 2
    seed: int = 0
    samples_per_s: float = 1000.0

    def node_of(self, positions: Numbers, order: Order) -> Numbers:
        """Which node shows the samples at consecutive positions, from the beginning of a step on."""
        lanes = (positions // RUN % order.lanes + 0.5) / order.lanes
        found = np.empty(len(positions), dtype=np.int64)
        found[dealt(positions, lanes, int(positions[0]), self.batch_size) - positions[0]] = (
            np.arange(len(positions)) % self.batch_size * self.nodes // self.batch_size
        )
        return found


@dataclass(frozen=True)
class EpochForecast:
    """An epoch, as the mean of the nodes that were gone through.

    Attributes:
        cache_hits: share of the reads of extents that the cache serves.
        node_downloads: requests for data, a node.
        node_bytes: downloaded, a node.
        total_bytes: downloaded by all nodes.
        times: how often each extent that a node reads is downloaded by it.
        requests_per_s, bytes_per_s: of all nodes together.
    """

    epoch: int
    cache_hits: float
    node_downloads: float
    node_bytes: float
    total_bytes: float
    times: float
    requests_per_s: float
    bytes_per_s: float


@dataclass(frozen=True)
class Forecast:
    """What a job will read.

    Attributes:
        samples, shown: stored in all, and shown in an epoch.
        lanes: of the order; fewer than asked for where the set is small.
        nodes_per_shard: how many nodes read each shard, in the mean.
        node_set_bytes: of all extents that a node reads in an epoch.
        window_bytes: most that come between the first and the last read of an extent in an epoch; what a cache drops
            later than that is downloaded once.
        needed_bytes: what a cache must hold to be used at all; see `pipeline.stream.cache_plan`.
        ring_bytes: of the cache, what new extents pass through; 0 where there is none, or too little.
        scaled: how the job was made smaller to be gone through, in sentences.
    """

    samples: int
    shown: int
    set_bytes: int
    lanes: int
    quality: ShuffleQuality
    nodes_per_shard: float
    node_set_bytes: float
    window_bytes: float
    needed_bytes: float
    ring_bytes: float
    epochs: list[EpochForecast]
    scaled: list[str] = field(default_factory=list)


def simulate(sizes: ShardSizes, job: PlannedJob, extent_bytes: int = EXTENT_BYTES) -> Forecast:
    """Go through the epochs of a job.

    Args:
        extent_bytes: of the pieces that caches hold.

    Raises:
        SettingsError: the batch can't be cut into equal parts for the ranks.
        ShardSetError: the shard set is empty.
    """
    ranks = job.nodes * job.ranks_per_node
    if job.batch_size % ranks:
        raise SettingsError(
            f"batch size: expected a multiple of {job.nodes} nodes × {job.ranks_per_node} ranks, found {job.batch_size}"
        )
    if not len(sizes):
        raise ShardSetError("expected shards with samples, found none")
    order = order_of(sizes.shown, len(sizes), job.seed, job.data)
    quality = shuffle_quality(order)
    set_bytes = int(sizes.bytes.sum())
    samples, shown = len(sizes), len(order)
    part, scale, scaled = _scale_shards(sizes, job)
    if scale > 1:
        order = order_of(part.shown, len(part), job.seed, job.data)
    nodes = _choose_nodes(part, job, scaled)
    needed, ring = _plan_cache(order, part, job)
    walked = _walk(part, Extents(part, extent_bytes), order, job, nodes, scale, ring)
    epochs = [_mean(number, epochs, job, shown, scale, ring > 0) for number, epochs in enumerate(walked)]
    first = walked[0]
    return Forecast(
        samples=samples,
        shown=shown,
        set_bytes=set_bytes,
        lanes=order.lanes,
        quality=quality,
        nodes_per_shard=mean(epoch.shards for epoch in first) * job.nodes / int((part.samples > 0).sum()),
        node_set_bytes=mean(epoch.touched_bytes for epoch in first) * scale,
        window_bytes=float(max(epoch.window_bytes for epochs in walked for epoch in epochs)),
        needed_bytes=needed,
        ring_bytes=ring,
        epochs=epochs,
        scaled=scaled,
    )


def _walk(
    sizes: ShardSizes, extents: Extents, order: Order, job: PlannedJob, nodes: Numbers, scale: int, ring_bytes: int
) -> list[list[NodeEpoch]]:
    """Epoch → chosen node → what it read."""
    cache = int(job.data.cache.gigabytes * 1e9) // extents.whole_bytes
    passing = max(1, round(ring_bytes / extents.whole_bytes))
    kept = max(0, cache - passing) // scale

    def model() -> CacheModel | None:
        return CacheModel(extents.count, kept, passing) if ring_bytes else None

    readers = [Node(sizes, extents, model()) for _ in nodes]
    found = []
    for epoch in range(job.epochs):
        piece = max(1, _PIECE // job.batch_size) * job.batch_size
        for start in range(0, len(order), piece):
            positions = np.arange(start, min(start + piece, len(order)))
            shown = order.samples_at(epoch, range(start, start + len(positions)))
            shards = order.shard_of(shown)
            samples = sizes.stored(shown, shards, keyed_generator(job.seed, "simulate", epoch, start))
            whose = job.node_of(positions, order)
            for node, reader in zip(nodes.tolist(), readers, strict=True):
                mine = whose == node
                if mine.any():
                    reader.read(samples[mine], shards[mine])
        found.append([reader.end_epoch() for reader in readers])
    return found


def _plan_cache(order: Order, sizes: ShardSizes, job: PlannedJob) -> tuple[int, int]:
    """What a node needs at hand, and what of its cache extents pass through, as `plan_cache` has it."""
    needed = bytes_at_hand(order, sizes.bytes.sum() / len(order), job.nodes)
    most = int(job.data.cache.gigabytes * 1e9)
    return needed, max(needed, most // 4) if needed <= most else 0


def _scale_shards(sizes: ShardSizes, job: PlannedJob) -> tuple[ShardSizes, int, list[str]]:
    """One shard in so many, where even one node would read too much."""
    reads = int(sizes.shown.sum()) * job.epochs // job.nodes
    least = _LEAST_BLOCKS * job.data.lanes * job.data.block_samples
    scale = min(-(-reads // _MOST_READS), max(1, len(sizes) // least))
    if scale == 1:
        return sizes, 1, []
    return sizes.every(scale), scale, [f"one shard in {scale} stands for all, and so does what the caches keep"]


def _choose_nodes(sizes: ShardSizes, job: PlannedJob, scaled: list[str]) -> Numbers:
    reads = sizes.shown.sum() * job.epochs / job.nodes
    count = max(1, min(job.nodes, int(_MOST_READS / reads)))
    if count < job.nodes:
        scaled.append(f"{count} of {job.nodes} nodes stand for all")
    return np.unique(np.linspace(0, job.nodes - 1, count).astype(np.int64))


def _mean(number: int, epochs: list[NodeEpoch], job: PlannedJob, shown: int, scale: int, cached: bool) -> EpochForecast:
    fetched, amount = (scale * mean(getattr(epoch, name) for epoch in epochs) for name in ("fetched", "fetched_bytes"))
    reads = mean(epoch.reads for epoch in epochs)
    seconds = shown / job.samples_per_s
    return EpochForecast(
        epoch=number,
        cache_hits=1 - fetched / scale / reads if cached else 0.0,
        node_downloads=fetched,
        node_bytes=amount,
        total_bytes=amount * job.nodes,
        times=fetched / scale / mean(epoch.touched for epoch in epochs),
        requests_per_s=fetched * job.nodes / seconds,
        bytes_per_s=amount * job.nodes / seconds,
    )
