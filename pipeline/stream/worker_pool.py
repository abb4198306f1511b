"""The processes that read and decode for a trainer, seen from the trainer.

They put samples into memory shared with the trainer (anonymous: it is gone with the last process that has it, however
that ended). One that dies or hangs is replaced, and what it was at is done again, which gives the same. A sample that
ends its process again and again counts as bad.
"""

import logging
import mmap
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from types import TracebackType

from cluster import storage
from cluster.errors import WorkerPoolError
from cluster.fork_server import ForkServer
from pipeline.errors import ShardSetError
from pipeline.stream.arrays import Arrays
from pipeline.stream.read_plan import ReadPlan
from pipeline.stream.reader import Note, Positions
from pipeline.stream.worker import TOO_MUCH_MEMORY, Ahead, DecodeTask, Decoding, Done, Failed, Open, Ready, Waiting
from pipeline.stream.worker_process import Heard, WorkerProcess

_log = logging.getLogger(__name__)
_LOOK_EVERY_S = 0.5
_ALIVE_S = 5.0
_START_S = 300.0  # where many import from one slow disk
_CRASHES = 2
_KILLS = 5  # by others, who mean the process and not the sample; but memory that runs out looks the same
_STARTS = 3
_ENDS = 32  # processes that end one after the other without having done anything


@dataclass
class _Piece:
    """A piece of a batch, done in one task or, where that ended its process, sample by sample."""

    offset: int
    notes: list[Note | None]
    missing: int
    failed: str | None = None


@dataclass(frozen=True)
class StreamSlots:
    """What a stream's batches are read into.

    Attributes:
        stream: its number.
        slots: each for one batch.
        memory: all of them.
    """

    stream: int
    slots: list[Arrays]
    memory: memoryview


@dataclass
class _Stream:
    message: Open
    handle: int


class WorkerPool:
    """Worker processes that serve any number of streams of batches, each of which may be read by a thread of its own.

    Args:
        workers: processes, at least 1.
        urls: of what will be read, as far as it is known; its clients get ready while the processes start.
        deadline_s: longest time to decode a task, after which its process is replaced; so is one that gives no sign of
            life for as long, because it was stopped, say.
        memory_mb: most memory of a process, after which it is replaced.
    """

    def __init__(
        self, workers: int, deadline_s: float, urls: Iterable[str] = (), memory_mb: float = float("inf")
    ) -> None:
        self._deadline_s = deadline_s
        self._memory_mb = memory_mb
        remote = sorted({url.partition("://")[0] + "://" for url in urls if storage.is_remote(url)})
        command = [sys.executable, "-m", "pipeline.stream.worker", str(min(_ALIVE_S, deadline_s / 4)), str(memory_mb)]
        # this process's search path; one core each
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
        environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._server = ForkServer([*command, *remote], environment)
        self._streams: list[_Stream] = []
        self._pieces: dict[int, _Piece] = {}
        self._piece_of: dict[int, int] = {}
        self._lost: dict[int, tuple[int, int]] = {}
        self._next = 0
        self._failed_starts = self._ends = 0
        self._heard: Heard = SimpleQueue()
        self._dropped: list[tuple[set[int], Callable[[], None]]] = []
        self._lock = threading.RLock()
        self._processes = [self._start() for _ in range(workers)]

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pids(self) -> list[int]:
        """Ids of the processes."""
        return [one.pid for one in self._processes]

    def open(self, plan: ReadPlan, slots: int, samples: int) -> StreamSlots:
        """A new stream of so many slots, each for `samples` samples."""
        size = -(-Arrays.bytes_of(plan.fields, samples) // mmap.PAGESIZE) * mmap.PAGESIZE
        handle = os.memfd_create("gavt-batches", os.MFD_CLOEXEC)
        os.ftruncate(handle, size * slots)
        memory = mmap.mmap(handle, size * slots)
        with self._lock:
            stream = _Stream(Open(len(self._streams), plan, slots, samples), handle)
            self._streams.append(stream)
            for process in self._processes:
                process.say(stream.message, handle)
        view = memoryview(memory)
        parts = [view[slot * size : (slot + 1) * size] for slot in range(slots)]
        return StreamSlots(stream.message.stream, [Arrays.of(plan.fields, samples, part) for part in parts], view)

    def submit(self, stream: int, slot: int, offset: int, positions: Positions) -> int:
        """Have the samples at `positions` put into a slot from its sample `offset` on; gives the piece's number."""
        with self._lock:
            self._check_open()
            task = DecodeTask(self._number(), stream, slot, offset, positions)
            self._pieces[task.number] = _Piece(offset, [None] * len(positions), len(positions))
            self._piece_of[task.number] = task.number
            self._give(min(self._processes, key=lambda one: len(one.tasks)), task)
            return task.number

    def look_ahead(self, stream: int, worker: int, positions: Positions) -> None:
        """Have a worker bring samples near that will be wanted later."""
        with self._lock:
            self._check_open()
            self._processes[worker % len(self._processes)].say(Ahead(stream, positions))

    def is_done(self, piece: int) -> bool:
        """Whether all of a piece was heard of."""
        return not self._pieces[piece].missing

    def result(self, piece: int) -> list[Note]:
        """Wait for a piece.

        Raises:
            ShardSetError: it can't be done.
            WorkerPoolError: no process can be started.
        """
        while not self.is_done(piece):
            self.listen(piece)
        done = self._pieces.pop(piece)
        if done.failed is not None:
            raise ShardSetError(done.failed)
        return [note for note in done.notes if note is not None]

    def drop(self, pieces: Iterable[int], then: Callable[[], None]) -> None:
        """Let pieces that nobody wants any more come to their end, and call `then` when it was heard of (`listen`)."""
        with self._lock:
            pieces = list(pieces)
            left = {piece for piece in pieces if piece in self._pieces and self._pieces[piece].missing}
            for piece in pieces:
                if piece not in left:
                    self._pieces.pop(piece, None)
            if left:
                self._dropped.append((left, then))
                return
        then()

    def close(self) -> None:
        """End the processes and give back the memory."""
        with self._lock:
            processes, self._processes = self._processes, []
        self._server.close()
        for one in processes:
            one.kill()
        for one in processes:
            one.close()
        self._pieces.clear()
        self._dropped.clear()
        for stream in self._streams:
            os.close(stream.handle)
        self._streams = []

    def listen(self, piece: int | None = None) -> None:
        """Wait a moment for what the processes say, and replace those that don't move.

        Args:
            piece: that is waited for; another thread may have heard of it before.

        Raises:
            WorkerPoolError: no process can be started, or the pool is closed.
        """
        with self._lock:
            self._check_open()
            if piece is None or not self.is_done(piece):
                self._listen()

    def _check_open(self) -> None:
        if not self._processes:
            raise WorkerPoolError("the loader is closed, and gives no more batches")

    def _listen(self) -> None:
        began = time.monotonic()
        try:
            self._hear(*self._heard.get(timeout=_LOOK_EVERY_S))
            while True:
                self._hear(*self._heard.get_nowait())
        except Empty:
            pass
        # only while somebody listens: the trainer itself may have stood still
        listened_s = min(time.monotonic() - began, _LOOK_EVERY_S)
        for one in list(self._processes):
            one.silent_s = 0.0 if one.moved else one.silent_s + listened_s
            one.moved = False
            one.decoding_s += listened_s
            if one.decoding is not None and one.decoding_s > self._deadline_s:
                _log.warning("a worker took longer than %g s to decode a few samples; it is replaced", self._deadline_s)
                self._replace(one, hung=True)
            elif one.silent_s > self._deadline_s + (0 if one.ready else _START_S):
                _log.warning("a worker gave no sign of life for %.0f s; it is replaced", one.silent_s)
                self._replace(one, hung=True)

    def _hear(self, one: WorkerProcess, message: object) -> None:
        if one not in self._processes:
            return  # its work was given to another
        if message is None:
            self._replace(one)
        elif isinstance(message, Ready):
            one.ready = True
            self._failed_starts = 0
        elif isinstance(message, Waiting):
            one.decoding = None
        elif isinstance(message, Decoding):
            one.decoding, one.decoding_s = message.number, 0.0
        elif isinstance(message, (Done, Failed)):
            if one.decoding == message.number:
                one.decoding = None
            self._ends = 0
            task = one.tasks.pop(message.number)
            self._lost.pop(message.number, None)
            number = self._piece_of.pop(message.number)
            piece = self._pieces[number]
            piece.missing -= len(task.positions)
            if isinstance(message, Failed):
                piece.failed = message.message
            else:
                start = task.offset - piece.offset
                piece.notes[start : start + len(message.notes)] = message.notes
            if not piece.missing:
                self._forget(number)

    def _forget(self, number: int) -> None:
        """A piece is over; if it was dropped, nobody comes for it."""
        for dropped in self._dropped:
            left, then = dropped
            if number in left:
                left.discard(number)
                del self._pieces[number]
                if not left:
                    self._dropped.remove(dropped)
                    then()
                return

    def _replace(self, one: WorkerProcess, hung: bool = False) -> None:
        """Start another process in the place of one that is gone or must go, and give it what was left."""
        code = one.end()
        self._failed_starts += not one.ready and (hung or code != -signal.SIGKILL)  # a kill says nothing
        self._ends += 1
        if self._failed_starts >= _STARTS or self._ends >= _ENDS:
            raise WorkerPoolError(f"loader processes don't stay alive; the last ended with {self._fate(code)}")
        if not hung:
            _log.warning("a loader process ended (%s); another does its work", self._fate(code))
        fresh = self._start()
        self._processes[self._processes.index(one)] = fresh
        for stream in self._streams:
            fresh.say(stream.message, stream.handle)
        for task in one.tasks.values():
            if task.number == one.decoding:
                how = f"takes longer than {self._deadline_s:g} s" if hung else f"ends the process ({self._fate(code)})"
                for part in self._once_more(task, f"decoding it {how}", killed=code == -signal.SIGKILL and not hung):
                    self._give(fresh, part)
            else:
                self._give(fresh, task)

    def _once_more(self, task: DecodeTask, how: str, killed: bool) -> list[DecodeTask]:
        """The task that a process was at when it ended, whole or sample by sample."""
        crashes, kills = self._lost.pop(task.number, (0, 0))
        crashes, kills = crashes + (not killed), kills + killed
        if crashes < _CRASHES and kills < _KILLS:
            self._lost[task.number] = (crashes, kills)
            return [task]
        if len(task.positions) == 1:
            if task.crashed:
                place = int(task.positions[0])
                raise ShardSetError(f"position {place}: what stands in for its sample ends the process too")
            return [replace(task, crashed={int(position): how for position in task.positions})]
        piece = self._piece_of.pop(task.number)
        parts = []
        for at, position in enumerate(map(int, task.positions)):
            number = self._number()
            self._piece_of[number] = piece
            parts.append(replace(task, number=number, offset=task.offset + at, positions=range(position, position + 1)))
        return parts

    def _start(self) -> WorkerProcess:
        return WorkerProcess(self._heard, self._server)

    def _give(self, one: WorkerProcess, task: DecodeTask) -> None:
        one.tasks[task.number] = task
        one.say(task)

    def _number(self) -> int:
        self._next += 1
        return self._next

    def _fate(self, code: int) -> str:
        if code == TOO_MUCH_MEMORY:
            return f"more than {self._memory_mb:g} MB of memory taken, data.worker_memory_mb"
        return f"signal {-code}" if code < 0 else f"code {code}"
