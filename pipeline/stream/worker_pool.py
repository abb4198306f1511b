"""The processes that read and decode for a trainer, seen from the trainer.

They put samples into memory shared with the trainer (anonymous: it is gone with the last process that has it, however
that ended). One that dies or hangs is replaced, and what it was at is done again, which gives the same. A sample that
ends its process again and again counts as bad.
"""

import logging
import mmap
import os
import socket
import subprocess
import sys
import time
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import send_handle
from types import TracebackType

from cluster.errors import WorkerPoolError
from pipeline.errors import ShardSetError
from pipeline.stream.read_plan import ReadPlan
from pipeline.stream.reader import Arrays, Note, Positions
from pipeline.stream.worker import Ahead, Decoding, Done, Failed, Open, Ready, Task

_log = logging.getLogger(__name__)
_LOOK_EVERY_S = 0.5
_CRASHES = 2
_KILLS = 5  # by others, who mean the process and not the sample; but memory that runs out looks the same
_STARTS = 3
_ENDS = 32  # processes that end one after the other without having done anything


@dataclass
class _Job:
    """A piece of a batch, done in one task or, where that ended its process, sample by sample."""

    offset: int
    notes: list[Note | None]
    missing: int
    failed: str | None = None


@dataclass
class _Stream:
    message: Open
    handle: int
    memory: mmap.mmap


@dataclass
class _Process:
    process: "subprocess.Popen[bytes]"
    connection: Connection
    tasks: "OrderedDict[int, Task]" = field(default_factory=OrderedDict)
    ready: bool = False
    decoding: int | None = None
    since: float = 0.0


class WorkerPool:
    """Worker processes that serve any number of streams of batches.

    Args:
        workers: processes, at least 1.
        deadline_s: longest time to decode a task, after which its process is replaced.
    """

    def __init__(self, workers: int, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self._streams: list[_Stream] = []
        self._jobs: dict[int, _Job] = {}
        self._job_of: dict[int, int] = {}
        self._lost: dict[int, tuple[int, int]] = {}
        self._next = 0
        self._failed_starts = self._ends = 0
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
        return [one.process.pid for one in self._processes]

    def open(self, plan: ReadPlan, slots: int, samples: int) -> tuple[int, list[Arrays]]:
        """A new stream; gives its number and its slots, each for `samples` samples."""
        size = -(-Arrays.bytes_of(plan, samples) // mmap.PAGESIZE) * mmap.PAGESIZE
        handle = os.memfd_create("gavt-batches", os.MFD_CLOEXEC)
        os.ftruncate(handle, size * slots)
        memory = mmap.mmap(handle, size * slots)
        stream = _Stream(Open(len(self._streams), plan, slots, samples), handle, memory)
        self._streams.append(stream)
        for process in self._processes:
            self._tell(process, stream)
        view = memoryview(memory)
        parts = [view[slot * size : (slot + 1) * size] for slot in range(slots)]
        return stream.message.stream, [Arrays.of(plan, samples, part) for part in parts]

    def submit(self, stream: int, slot: int, offset: int, positions: Positions) -> int:
        """Have the samples at `positions` put into a slot from its sample `offset` on; gives the job's number."""
        task = Task(self._number(), stream, slot, offset, positions)
        self._jobs[task.number] = _Job(offset, [None] * len(positions), len(positions))
        self._job_of[task.number] = task.number
        self._give(min(self._processes, key=lambda one: len(one.tasks)), task)
        return task.number

    def look_ahead(self, stream: int, worker: int, positions: Positions) -> None:
        """Have a worker bring samples near that will be wanted later."""
        process = self._processes[worker % len(self._processes)]
        self._say(process, Ahead(stream, positions))

    def result(self, job: int) -> list[Note]:
        """Wait for a job.

        Raises:
            ShardSetError: it can't be done.
            WorkerPoolError: no process can be started.
        """
        while self._jobs[job].missing:
            self._listen(_LOOK_EVERY_S)
        done = self._jobs.pop(job)
        if done.failed is not None:
            raise ShardSetError(done.failed)
        return [note for note in done.notes if note is not None]

    def drop(self, job: int) -> None:
        """Wait for a job that nobody wants any more, so that its slot can be used again; nothing if it is over."""
        while job in self._jobs and self._jobs[job].missing:
            self._listen(_LOOK_EVERY_S)
        self._jobs.pop(job, None)

    def close(self) -> None:
        """End the processes and give back the memory."""
        for one in self._processes:
            one.connection.close()
            one.process.kill()
        for one in self._processes:
            one.process.wait()
        self._processes = []
        self._jobs.clear()
        for stream in self._streams:
            os.close(stream.handle)
        self._streams = []

    def _listen(self, patience_s: float) -> None:
        by_connection = {one.connection: one for one in self._processes}
        for connection in wait(list(by_connection), patience_s):
            one = by_connection[connection]  # type: ignore[index]  # wait() gives back what it was given
            try:
                while one.connection.poll():
                    self._hear(one, one.connection.recv())
            except (EOFError, ConnectionError):
                self._replace(one)
        for one in self._processes:
            if one.decoding is not None and time.monotonic() - one.since > self._deadline_s:
                _log.warning("a worker took longer than %g s to decode a few samples; it is replaced", self._deadline_s)
                one.process.kill()
                self._replace(one, hung=True)

    def _hear(self, one: _Process, message: object) -> None:
        if isinstance(message, Ready):
            one.ready = True
            self._failed_starts = 0
        elif isinstance(message, Decoding):
            one.decoding, one.since = message.number, time.monotonic()
        elif isinstance(message, (Done, Failed)):
            if one.decoding == message.number:
                one.decoding = None
            self._ends = 0
            task = one.tasks.pop(message.number)
            self._lost.pop(message.number, None)
            job = self._jobs[self._job_of.pop(message.number)]
            job.missing -= len(task.positions)
            if isinstance(message, Failed):
                job.failed = message.message
            else:
                start = task.offset - job.offset
                job.notes[start : start + len(message.notes)] = message.notes

    def _replace(self, one: _Process, hung: bool = False) -> None:
        """Start another process in the place of one that is gone, and give it what was left."""
        code = one.process.wait()
        one.connection.close()
        self._failed_starts += not one.ready
        self._ends += 1
        if self._failed_starts >= _STARTS or self._ends >= _ENDS:
            self.close()
            raise WorkerPoolError(f"loader processes don't stay alive; the last ended with {_fate(code)}")
        if not hung:
            _log.warning("a loader process ended (%s); another does its work", _fate(code))
        fresh = self._start()
        self._processes[self._processes.index(one)] = fresh
        for stream in self._streams:
            self._tell(fresh, stream)
        for task in one.tasks.values():
            if task.number == one.decoding:
                for part in self._once_more(task, killed=code == -9 and not hung):
                    self._give(fresh, part)
            else:
                self._give(fresh, task)

    def _once_more(self, task: Task, killed: bool) -> list[Task]:
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
            return [replace(task, crashed=frozenset(map(int, task.positions)))]
        job = self._job_of.pop(task.number)
        parts = []
        for at, position in enumerate(map(int, task.positions)):
            number = self._number()
            self._job_of[number] = job
            parts.append(replace(task, number=number, offset=task.offset + at, positions=range(position, position + 1)))
        return parts

    def _start(self) -> _Process:
        ours, theirs = socket.socketpair()
        with theirs:
            environment = os.environ | {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
            # one core each; and what is killed must be the worker where memory runs out
            environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
            command = [sys.executable, "-m", "pipeline.stream.worker", str(theirs.fileno())]
            process = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], env=environment, stdin=subprocess.DEVNULL, start_new_session=True
            )
        return _Process(process, Connection(ours.detach()))

    def _tell(self, one: _Process, stream: _Stream) -> None:
        self._say(one, stream.message)
        try:
            send_handle(one.connection, stream.handle, one.process.pid)
        except (BrokenPipeError, ConnectionError):
            return  # it is gone, which is noticed when we listen

    def _give(self, one: _Process, task: Task) -> None:
        one.tasks[task.number] = task
        self._say(one, task)

    def _say(self, one: _Process, message: object) -> None:
        try:
            one.connection.send(message)
        except (BrokenPipeError, ConnectionError):
            return  # it is gone, which is noticed when we listen

    def _number(self) -> int:
        self._next += 1
        return self._next


def _fate(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"code {code}"
