"""Signals that ask a run to save and leave."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SAME_S = 0.5


class StopSignals:
    """What this process was sent.

    Attributes:
        received: the first signal's number; 0 so far.
    """

    def __init__(self) -> None:
        self.received = 0
        self._at = 0.0

    def note(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal: the first asks to save and leave, a second one ends the process at once."""
        # a scheduler that signals every process and the launcher, which passes it on, means one signal
        if self.received and time.monotonic() > self._at + _SAME_S:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        if not self.received:
            self.received, self._at = number, time.monotonic()


@contextmanager
def stop_signals() -> Iterator[StopSignals]:
    """Note SIGTERM, SIGINT and SIGUSR2 (preemption) instead of dying: the run saves a checkpoint first."""
    signals = StopSignals()
    before = {number: signal.signal(number, signals.note) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
