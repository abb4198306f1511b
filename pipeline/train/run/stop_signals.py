"""Signals that ask a run to save and leave."""

import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from cluster.errors import UserError
from cluster.exit_codes import INTERRUPTED, RESTART
from cluster.job_environment import JobEnvironment
from cluster.stop_signals import STOP_SIGNALS, heeded_signals, say_stopped_early

_SAME_S = 0.5
_PATIENCE_S = 10.0
"""What processes that have met get, until all know that they shall leave; schedulers give 30 s and more."""
_ON_ITS_WAY_S = 2.0
"""By which one process of a job may get its signal later than another."""


def _die(number: int) -> None:
    """End this process by a signal."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


class StopSignals:
    """What this process was sent.

    Args:
        end: what a second signal does.

    Attributes:
        received: the first signal's number; 0 so far.
        started: set once all processes know of each other that they shall train.
    """

    def __init__(self, end: Callable[[int], None] = _die) -> None:
        self.received = 0
        self.started = threading.Event()
        self._end = end
        self._at = 0.0

    def note(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal: the first asks to save and leave, a second one ends the process at once."""
        # a scheduler that signals every process and the launcher, which passes it on, means one signal
        if self.received and time.monotonic() > self._at + _SAME_S:
            self._end(number)
        if not self.received:
            self.received, self._at = number, time.monotonic()


@contextmanager
def stop_signals() -> Iterator[StopSignals]:
    """Note the signals that ask to leave instead of dying: the run saves a checkpoint first."""
    signals = StopSignals()
    with _handled_by(signals.note):
        yield signals


class StartUp:
    """A program from its start to its first step, where there is nothing to save.

    A signal ends the process with the exit code that asks for a restart: at once, until all processes have met; from
    then on when all have agreed to leave, or soon.

    Attributes:
        signals: what was sent since the processes have met.
    """

    def __init__(self, job: JobEnvironment) -> None:
        self.signals = StopSignals(self._end)
        self._says, self._alone = job.is_main, job.world_size == 1
        self._met = False
        self._leaving = threading.Lock()

    @contextmanager
    def noted(self) -> Iterator[None]:
        """A block with handlers for signals; what replaces them stays when it ends."""
        with _handled_by(self._hear):
            yield

    @contextmanager
    def heard(self) -> Iterator[None]:
        """A block in which signals work while the main thread waits for other processes outside Python, where no
        handler runs, and in which the loss of processes that leave is no error of this one."""
        read, write = os.pipe()
        os.set_blocking(write, False)
        before = signal.set_wakeup_fd(write)
        listener = threading.Thread(target=self._listen, args=(read,), name="signals", daemon=True)
        listener.start()
        try:
            yield
        except UserError:
            raise
        except Exception:
            self._leave_if_asked()
            raise
        finally:
            signal.set_wakeup_fd(before)
            os.close(write)
            listener.join()
            os.close(read)

    def have_met(self) -> None:
        """All processes are there, and what they are sent is noted from here on."""
        self._met = True

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self._met:
            self.signals.note(number, frame)
        else:
            self._leave(number)

    def _listen(self, read: int) -> None:
        """Look at signals as they come: each is a byte in the pipe, whatever the main thread is at."""
        first, at = 0, 0.0
        while True:
            waits = first and not self.signals.started.is_set()
            left_s = at + _PATIENCE_S - time.monotonic()
            if waits and left_s <= 0:
                self._leave(first)
            elif select.select([read], [], [], left_s if waits else None)[0]:
                content = os.read(read, 1)
                if not content:
                    return
                number, now = content[0], time.monotonic()
                if number not in STOP_SIGNALS or self.signals.started.is_set():
                    continue
                if not self._met or (first and now > at + _SAME_S):
                    self._leave(number)
                elif not first:
                    first, at = number, now

    def _leave_if_asked(self) -> None:
        """Where the job is being stopped, an error before the first step says no more than that others went first."""
        deadline = time.monotonic() + (0 if self._alone else _ON_ITS_WAY_S)
        while not (self.signals.received or self.signals.started.is_set()) and time.monotonic() < deadline:
            time.sleep(0.02)
        if self.signals.received and not self.signals.started.is_set():
            self._leave(self.signals.received)

    def _end(self, number: int) -> None:
        """A second signal."""
        if self.signals.started.is_set():
            _die(number)
        self._leave(number)

    def _leave(self, number: int) -> None:
        """End the process; the main one says why."""
        if not self._leaving.acquire(blocking=False):  # in the other thread, or below this handler
            time.sleep(_SAME_S)
            return
        if self._says:
            say_stopped_early(number)
            if not self._alone:
                time.sleep(_SAME_S)  # the others meet at this process, and shall get their signal while it is there
        os._exit(INTERRUPTED if number == signal.SIGINT else RESTART)


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in heeded_signals()}
    try:
        yield
    finally:
        for number, earlier in before.items():
            if signal.getsignal(number) == handler:
                signal.signal(number, earlier)
