"""Which signals ask a program to save and leave."""

import os
import signal
from contextlib import suppress

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2, signal.SIGHUP)
"""Of schedulers and people; SIGUSR2 is preemption, SIGHUP a terminal or connection that is gone."""


def heeded_signals() -> tuple[signal.Signals, ...]:
    """Those that this process is to heed: all, but SIGHUP where who started it had it ignored, as nohup does."""
    ignores_hangup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return tuple(number for number in STOP_SIGNALS if number != signal.SIGHUP or not ignores_hangup)


def say_stopped_early(number: int) -> None:
    """Say on stderr that a program leaves because of a signal, before it has done anything."""
    what = "interrupted" if number == signal.SIGINT else f"stopped by {signal.Signals(number).name}"
    with suppress(OSError):  # of a terminal that is gone
        os.write(2, f"gavt: {what} before the first step; the same command goes on\n".encode())
