"""Signals that ask a run to save and leave."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopSignals:
    """What this process was sent.

    Attributes:
        received: the newest signal's number; none so far.
    """

    def __init__(self) -> None:
        self.received: int | None = None

    def note(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        self.received = number


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
