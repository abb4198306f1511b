"""Micro-batches, decoded ahead of their use by worker processes."""

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from types import TracebackType

import torch

from pipeline.stream.arrays import Arrays
from pipeline.stream.batch import Batch, take_batch
from pipeline.stream.device_copy import PinnedMemory
from pipeline.stream.read_plan import ReadPlan
from pipeline.stream.reader import Note, Positions, SampleReader
from pipeline.stream.settings import NEVER_LENT
from pipeline.stream.worker_pool import WorkerPool

_log = logging.getLogger(__name__)
_CHUNK = 16
"""Samples a task: enough that talking costs nothing, few enough that all workers are at the next batch."""
_SAID_EACH = 20


@dataclass
class _Pending:
    positions: Positions
    slot: int
    pieces: list[int]


class Loader:
    """Reads the samples at given positions, ahead of their use.

    With `data.workers` processes that start with it, or in this one with 0. Close it, or use it in a `with` block.

    Attributes:
        waited_s: seconds that the training thread spent waiting for data so far.
    """

    def __init__(
        self,
        plan: ReadPlan,
        batch_samples: int,
        device: torch.device | None = None,
        pool: WorkerPool | None = None,
    ) -> None:
        """
        Args:
            batch_samples: most samples of a batch.
            device: where batches are brought; the memory that a GPU copies from is pinned.
            pool: processes that somebody else owns, instead of own ones.
        """
        self.plan = plan
        self.waited_s = 0.0
        self._device = torch.device("cpu") if device is None else device
        self._interrupted = False
        self._bad = BadSamples()
        self._reader: SampleReader | None = None
        self._pool, self._owns_pool = pool, pool is None
        if pool is None and plan.data.workers:
            self._pool = WorkerPool(
                plan.data.workers, plan.data.deadline_s, (one.url for one in plan.sets), plan.data.worker_memory_mb
            )
        if self._pool is not None:
            opened = self._pool.open(plan, plan.data.slots, batch_samples)
            self._stream, self._slots = opened.stream, opened.slots
            self._pinned = PinnedMemory(opened.memory, self._device)
            self._free = list(range(len(self._slots)))
            self._lent: set[int] = set()

    def __enter__(self) -> "Loader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the worker processes."""
        self.interrupt()
        if self._pool is not None:
            self._pinned.release()
        if self._pool is not None and self._owns_pool:
            self._pool.close()
        if self._reader is not None:
            self._reader.close()

    @property
    def worker_pids(self) -> list[int]:
        """Ids of the worker processes."""
        return [] if self._pool is None else self._pool.pids

    def batches(self, pieces: Iterable[Positions]) -> Generator[Batch, None, None]:
        """The samples at the positions of each piece, in order; to be gone through before it is asked again.

        Raises:
            ShardSetError: too many samples in a row are bad, or the storage does not answer.
        """
        self._interrupted = False
        return self._read_here(pieces) if self._pool is None else self._read_ahead(self._pool, pieces)

    def interrupt(self) -> None:
        """Have the batches end soon, for whoever waits for one in another thread."""
        self._interrupted = True

    def read(self, positions: Positions) -> Batch:
        """The samples at global positions, read in this process."""
        if self._reader is None:
            self._reader = SampleReader(self.plan)
        arrays = Arrays.of(self.plan.fields, len(positions))
        return self._batch(positions, self._reader.read(positions, arrays), arrays)

    def _read_here(self, pieces: Iterable[Positions]) -> Generator[Batch, None, None]:
        for positions in pieces:
            if self._interrupted:
                return
            started = time.perf_counter()
            batch = self.read(positions)
            self.waited_s += time.perf_counter() - started
            yield batch

    def _read_ahead(self, pool: WorkerPool, pieces: Iterable[Positions]) -> Generator[Batch, None, None]:
        pieces = iter(pieces) if not self._looks_ahead() else self._announced(pool, iter(pieces))
        pending: deque[_Pending] = deque()
        try:
            while True:
                started = time.perf_counter()
                free = len(self._free)  # others give slots back meanwhile
                for positions in islice(pieces, free):
                    pending.append(self._submit(pool, positions))
                if not pending and free:
                    return
                if not pending:
                    pool.listen()  # until what was dropped before comes to its end
                    continue
                current = pending[0]
                for piece in current.pieces:
                    while not pool.is_done(piece):
                        if self._interrupted:
                            return
                        pool.listen(piece)
                notes = [note for piece in current.pieces for note in pool.result(piece)]
                ready = [self._lend(current, notes)]
                pending.popleft()
                self.waited_s += time.perf_counter() - started
                yield ready.pop()  # kept here, its slot would still be lent when the next one is
        finally:
            for left in pending:  # somebody stopped early: what was begun is let come
                pool.drop(left.pieces, partial(self._free.append, left.slot))

    def _lend(self, pending: _Pending, notes: list[Note]) -> Batch:
        """A batch whose tensors are its slot, which comes back with their end; copies where many are still in use."""
        slot = self._slots[pending.slot]
        if len(self._lent) + NEVER_LENT >= len(self._slots):
            batch = self._batch(pending.positions, notes, slot)
            self._free.append(pending.slot)
            return batch
        self._lent.add(pending.slot)

        def give_back() -> None:
            self._lent.discard(pending.slot)
            self._free.append(pending.slot)

        return self._batch(pending.positions, notes, slot, give_back)

    def _submit(self, pool: WorkerPool, positions: Positions) -> _Pending:
        slot = self._free.pop()
        pieces = [
            pool.submit(self._stream, slot, offset, positions[offset : offset + _CHUNK])
            for offset in range(0, len(positions), _CHUNK)
        ]
        return _Pending(positions, slot, pieces)

    def _looks_ahead(self) -> bool:
        return self.plan.cache is not None and self.plan.data.cache.read_ahead > 0

    def _announced(self, pool: WorkerPool, pieces: Iterator[Positions]) -> Iterator[Positions]:
        """The pieces; what lies up to `read_ahead` samples behind them is told to the workers before."""
        coming: deque[Positions] = deque()
        told, worker = 0, 0
        while True:
            while told < self.plan.data.cache.read_ahead:
                piece = next(pieces, None)
                if piece is None:
                    break
                coming.append(piece)
                told += len(piece)
                for offset in range(0, len(piece), _CHUNK):
                    pool.look_ahead(self._stream, worker, piece[offset : offset + _CHUNK])
                    worker += 1
            if not coming:
                return
            told -= len(coming[0])
            yield coming.popleft()

    def _batch(
        self, positions: Positions, notes: list[Note], arrays: Arrays, release: Callable[[], None] | None = None
    ) -> Batch:
        self._bad.note(positions, notes)
        return take_batch(positions, notes, self.plan.fields, arrays, self.plan.augment is not None, release)


class BadSamples:
    """Says which samples are bad: each by its name, and many of one shard as their number."""

    def __init__(self) -> None:
        self._of_shard: Counter[str] = Counter()

    def note(self, positions: Positions, notes: Iterable[Note]) -> None:
        """Look through the notes of a batch."""
        for position, note in zip(positions, notes, strict=True):
            for url, key, sentence in note.bad:
                self._of_shard[url] += 1
                count = self._of_shard[url]
                if count <= _SAID_EACH:
                    name = f"{url}: sample {key}" if key else url
                    then = f"{note.key} stands in" if note.metadata else "left out"
                    _log.warning("position %d: %s is bad, %s: %s", position, name, then, sentence)
                elif count % 1000 == 0:
                    _log.warning("%s: %d samples were bad so far", url, count)
