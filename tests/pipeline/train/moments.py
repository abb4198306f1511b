"""Moments of a training process, told by what it has done, so that tests strike at the same places on any machine."""

import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

Moment = Callable[[psutil.Process], bool]


def is_there(process: psutil.Process) -> bool:
    """It has begun."""
    return process.is_running()


def listens_to(*numbers: signal.Signals) -> Moment:
    """It handles these signals."""

    def handles(process: psutil.Process) -> bool:
        status = Path(f"/proc/{process.pid}/status").read_text()
        (caught,) = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigCgt")]
        return all(caught >> (number - 1) & 1 for number in numbers)

    return handles


def has_loaded(library: str) -> Moment:
    """It has begun to import what has such a library."""
    return lambda process: library in Path(f"/proc/{process.pid}/maps").read_text()


def has_met_others(process: psutil.Process) -> bool:
    """It talks with another process of its job."""
    return any(one.status == psutil.CONN_ESTABLISHED for one in process.net_connections())


def has_touched(file: Path) -> Moment:
    """It, or another process of its job, has written a file since this was asked."""
    before = _written(file)
    return lambda process: _written(file) != before


def wait_for(moment: Moment, process: psutil.Process, seconds: float = 300) -> bool:
    """Wait for a moment of a process; whether it has lived to see it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(psutil.Error, FileNotFoundError, ProcessLookupError):
            if moment(process):
                return True
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            return False
        time.sleep(0.005)
    raise AssertionError(f"process {process.pid} has not come so far in {seconds:.0f} s")


def _written(file: Path) -> int | None:
    return file.stat().st_mtime_ns if file.exists() else None
