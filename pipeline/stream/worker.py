"""A process that reads and decodes samples for a trainer: `python -m pipeline.stream.worker SECONDS MB [URL …]`.

It talks over the socket that is its stdin, puts samples into memory that it shares with its parent, and ends with it.
No torch here: a worker takes little memory.

Messages to it: `Open`, followed by the memory's file descriptor; `DecodeTask`; `Ahead`. From it: `Ready`, `Waiting`,
`Decoding`, `Done`, `Failed`, and `Alive` every so many seconds. Tasks are done in the order in which they come.
"""

import logging
import mmap
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from queue import SimpleQueue

from cluster import storage
from cluster.errors import UserError
from cluster.isolation import private_mb
from cluster.stop_signals import STOP_SIGNALS
from cluster.terminal import PrintableFormatter
from pipeline.stream.arrays import Arrays
from pipeline.stream.read_plan import ReadPlan
from pipeline.stream.reader import Chunk, Note, Positions, SampleReader

_log = logging.getLogger(__name__)
TOO_MUCH_MEMORY = 87
"""The code with which a worker ends that took more memory than it may."""
_LOOK_EVERY_S = 0.05  # at the memory; decoding fills some GB a second


@dataclass(frozen=True)
class Open:
    """A stream of batches: its plan and the memory of its slots, each for `samples` samples."""

    stream: int
    plan: ReadPlan
    slots: int
    samples: int


@dataclass(frozen=True)
class DecodeTask:
    """Put the samples at `positions` into a slot, from its sample `offset` on.

    Attributes:
        crashed: positions whose sample ended a worker before, and how, as a sentence.
    """

    number: int
    stream: int
    slot: int
    offset: int
    positions: Positions
    crashed: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Ahead:
    """Positions that will be wanted later: bring their bytes near while there is time."""

    stream: int
    positions: Positions


@dataclass(frozen=True)
class Ready:
    """The worker has started."""


@dataclass(frozen=True)
class Alive:
    """The worker runs, whatever it waits for."""


@dataclass(frozen=True)
class Waiting:
    """A task waits for bytes: of something that stands in for a bad sample, after its own were there."""


@dataclass(frozen=True)
class Decoding:
    """The bytes of a task are there."""

    number: int


@dataclass(frozen=True)
class Done:
    """A task is done."""

    number: int
    notes: list[Note]


@dataclass(frozen=True)
class Failed:
    """A task can't be done by anybody: one sentence."""

    number: int
    message: str


class Worker:
    """The threads of the process: one takes messages and asks for bytes, one decodes, one looks ahead, one watches, one
    watches the memory.

    Args:
        alive_s: between two signs of life.
        memory_mb: most memory of the process.
    """

    def __init__(self, connection: Connection, alive_s: float, memory_mb: float) -> None:
        self._connection = connection
        self._alive_s = alive_s
        self._memory_mb = memory_mb
        self._sending = threading.Lock()
        self._readers: dict[int, SampleReader] = {}
        self._slots: dict[int, list[Arrays]] = {}
        self._tasks: SimpleQueue[tuple[DecodeTask, Chunk]] = SimpleQueue()
        self._begun = threading.Event()
        self._ahead: SimpleQueue[tuple[SampleReader, Positions]] = SimpleQueue()

    def run(self) -> None:
        """Work until the parent is gone."""
        for target in (self._listen, self._look_ahead, self._watch, self._watch_memory):
            threading.Thread(target=target, daemon=True).start()
        self._send(Ready())
        try:
            while True:
                self._do(*self._tasks.get())
        except BaseException:
            traceback.print_exc()
            os._exit(1)  # at once: an orderly end would wait for threads that wait for storage

    def _do(self, task: DecodeTask, chunk: Chunk) -> None:
        reader = self._readers[task.stream]
        arrays = self._slots[task.stream][task.slot].part(task.offset, task.offset + len(task.positions))

        def say_waiting(waits: bool) -> None:
            self._send(Waiting() if waits else Decoding(task.number))

        try:
            chunk.wait()
            self._send(Decoding(task.number))
            self._send(Done(task.number, reader.finish(chunk, arrays, say_waiting)))
            self._begun.set()
        except UserError as error:
            self._send(Failed(task.number, str(error)))

    def _watch(self) -> None:
        """Say that the process runs, and end with the parent, also while all else waits for storage."""
        parent = select.poll()
        parent.register(self._connection.fileno(), select.POLLRDHUP)
        while not parent.poll(self._alive_s * 1000):
            self._send(Alive())
        os._exit(0)

    def _watch_memory(self) -> None:
        """End the process before it takes what others need; whoever started it finds out which sample that was."""
        while (own_mb := private_mb()) is not None:
            if own_mb > self._memory_mb:
                os._exit(TOO_MUCH_MEMORY)
            time.sleep(_LOOK_EVERY_S)

    def _listen(self) -> None:
        """Take messages, also while something decodes or hangs, so that the parent's end is noticed at once."""
        try:
            while True:
                message = self._connection.recv()
                if isinstance(message, Open):
                    self._open(message)
                elif isinstance(message, Ahead):
                    self._ahead.put((self._readers[message.stream], message.positions))
                else:
                    self._begin(message)
        except (EOFError, ConnectionError):
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)  # a worker that doesn't listen would hang; the parent starts another

    def _open(self, message: Open) -> None:
        handle = recv_handle(self._connection)
        memory = memoryview(mmap.mmap(handle, 0))
        os.close(handle)
        size = len(memory) // message.slots
        self._readers[message.stream] = SampleReader(message.plan)
        self._slots[message.stream] = [
            Arrays.of(message.plan.fields, message.samples, memory[slot * size : (slot + 1) * size])
            for slot in range(message.slots)
        ]

    def _begin(self, task: DecodeTask) -> None:
        try:
            self._tasks.put((task, self._readers[task.stream].begin(task.positions, task.crashed)))
        except UserError as error:
            self._send(Failed(task.number, str(error)))

    def _look_ahead(self) -> None:
        self._begun.wait()  # what is wanted first must not wait for what is wanted later
        while True:
            reader, positions = self._ahead.get()
            try:
                reader.prefetch(positions)
            except UserError as error:
                _log.debug("positions %s can't be fetched ahead: %s", positions, error)

    def _send(self, message: object) -> None:
        try:
            with self._sending:
                self._connection.send(message)
        except (BrokenPipeError, ConnectionError):
            os._exit(0)


def main() -> None:
    """The process."""
    os.setsid()  # a terminal's Ctrl-C means the trainer, which ends its workers
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    said = logging.StreamHandler()
    said.setFormatter(PrintableFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(handlers=[said], level=logging.WARNING)
    for url in sys.argv[3:]:
        threading.Thread(target=storage.get_ready, args=(url,), daemon=True).start()
    Worker(Connection(0), float(sys.argv[1]), float(sys.argv[2])).run()


if __name__ == "__main__":
    # what was pickled by the parent names this module, not __main__
    from pipeline.stream.worker import main as run

    run()
