"""Micro-batches for one rank, decoded ahead of their use by a few threads."""

import logging
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.errors import ShardSetError
from pipeline.features.augment import AugmentDraws, augment_frames, draw_augmentation
from pipeline.features.settings import FeatureSettings
from pipeline.samples.metadata import Box, SampleMetadata
from pipeline.stream.decode import CENTRE, DecodedSample, canvas_size, decode_sample
from pipeline.stream.order import Order
from pipeline.stream.randomness import keyed_generator
from pipeline.stream.settings import DataSettings
from pipeline.stream.shard_set import ShardSet

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Batch:
    """Samples at consecutive global positions.

    Attributes:
        first_position: global position of the first.
        frames: uint8 [B, T, 3, K, K], before augmentation.
        waveform: float32 [B, C, S] in −1..1.
        draws: what was drawn for augmentation; none for evaluation.
        squares: the box in the upright image that each frame shows.
        replaced: samples that could not be decoded and were replaced.
    """

    first_position: int
    keys: list[str]
    metadata: list[SampleMetadata]
    frames: Tensor
    waveform: Tensor
    squares: list[Box]
    draws: AugmentDraws | None
    replaced: int = 0

    def __len__(self) -> int:
        return len(self.keys)

    def on_device(self, device: torch.device | str, frame_size: int) -> tuple[Tensor, Tensor]:
        """Augmented frames [B, T, 3, H, W] in 0–1 and waveform [B, C, S], on the device."""
        frames = self.frames.to(device, non_blocking=True).float() / 255
        waveform = self.waveform.to(device, non_blocking=True)
        if self.draws is None:
            return frames, waveform
        draws = self.draws.to(device)
        return augment_frames(frames, draws, frame_size), waveform * draws.volume[:, None, None]


class BatchReader:
    """Reads the samples at given global positions; a pure function of its settings.

    A sample that can't be decoded is replaced by the next position's that can, the same on every rank, and logged.
    """

    def __init__(
        self, shards: ShardSet, features: FeatureSettings, data: DataSettings, seed: int, augment: bool
    ) -> None:
        self.shards = shards
        self.features = features
        self.data = data
        self.seed = seed
        self.augment = augment
        self.order = Order(shards.samples_per_shard(), seed, data.block_shards)

    def read(self, positions: Sequence[int]) -> Batch:
        """The samples at consecutive global positions.

        Raises:
            ShardSetError: too many samples in a row can't be decoded.
        """
        decoded = [self._decode(position) for position in positions]
        samples = [sample for sample, _ in decoded]
        draws = None
        if self.augment:
            draws = AugmentDraws.concatenate(
                [
                    draw_augmentation(self.features.augment, keyed_generator(self.seed, "augment", position))
                    for position in positions
                ]
            )
        return Batch(
            first_position=positions[0],
            keys=[sample.key for sample in samples],
            metadata=[sample.metadata for sample in samples],
            frames=torch.stack([sample.frames for sample in samples]),
            waveform=torch.stack([sample.waveform for sample in samples]),
            squares=[sample.square for sample in samples],
            draws=draws,
            replaced=sum(was for _, was in decoded),
        )

    def _decode(self, position: int) -> tuple[DecodedSample, bool]:
        features = self.features
        place, size = CENTRE, features.frame_size
        if self.augment:
            place = float(keyed_generator(self.seed, "square", position).random())
            size = canvas_size(size, features.augment.resize_minimum)
        error: Exception | None = None
        for ahead in range(self.data.max_bad_in_a_row):
            index = self.order.sample_at(*self.order.epoch_of(position + ahead))
            try:
                sample = self.shards.read(index)
                return decode_sample(sample, size, features.audio_rate_hz, features.audio_samples, place), ahead > 0
            except (ShardSetError, ValueError) as problem:
                _log.warning("position %d: sample %d is replaced by the next: %s", position, index, problem)
                error = problem
        raise ShardSetError(
            f"{self.shards.url}: {self.data.max_bad_in_a_row} samples in a row can't be used; the last: {error}"
        )


class Loader:
    """The micro-batches of one rank, in order, from any step on; iterate once.

    The global batch of step n is the positions n·G … (n+1)·G − 1; micro-batch m of rank r is a contiguous piece of it,
    so that the batch's content does not depend on the number of ranks.

    Attributes:
        waited_s: seconds that the training thread spent waiting for data so far.
    """

    def __init__(self, reader: BatchReader, batch_size: int, micro_batch: int, rank: int, world_size: int) -> None:
        self.reader = reader
        self.batch_size = batch_size
        self.micro_batch = micro_batch
        self.rank = rank
        self.world_size = world_size
        self.waited_s = 0.0

    def batches(self, first_step: int, last_step: int) -> Iterator[Batch]:
        """Micro-batches of the steps first_step … last_step − 1."""
        data = self.reader.data
        plan = self._positions(first_step, last_step)
        if data.workers == 0:
            for positions in plan:
                started = time.perf_counter()
                batch = self.reader.read(positions)
                self.waited_s += time.perf_counter() - started
                yield batch
            return
        pool = ThreadPoolExecutor(data.workers, thread_name_prefix="gavt-loader")
        ready: deque[Future[Batch]] = deque()
        try:
            for positions in plan:
                ready.append(pool.submit(self.reader.read, positions))
                if len(ready) > data.prefetch:
                    yield self._next(ready)
            while ready:
                yield self._next(ready)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _next(self, ready: deque[Future[Batch]]) -> Batch:
        started = time.perf_counter()
        batch = ready.popleft().result()
        self.waited_s += time.perf_counter() - started
        return batch

    def _positions(self, first_step: int, last_step: int) -> Iterator[range]:
        accumulated = self.batch_size // (self.micro_batch * self.world_size)
        for step in range(first_step, last_step):
            for piece in range(accumulated):
                start = step * self.batch_size + (piece * self.world_size + self.rank) * self.micro_batch
                yield range(start, start + self.micro_batch)


def share_of(reader: BatchReader, samples: int, micro_batch: int, rank: int, world_size: int) -> Iterator[Batch]:
    """One rank's part of the first `samples` positions of epoch 0, for validation."""
    pieces = [range(start, min(start + micro_batch, samples)) for start in range(0, samples, micro_batch)]
    mine = pieces[rank::world_size]
    ahead = reader.data.prefetch
    with ThreadPoolExecutor(max(1, reader.data.workers), thread_name_prefix="gavt-validation") as pool:
        for first in range(0, len(mine), ahead):
            yield from pool.map(reader.read, mine[first : first + ahead])
