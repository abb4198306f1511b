"""Starting a job's processes on this machine."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType

from cluster.errors import LaunchError
from cluster.process_group import free_port

_PR_SET_PDEATHSIG = 1
_GRACE_S = 30.0


def launched() -> bool:
    """Whether a launcher has started this process as one of several."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def launch_local(command: Sequence[str], processes: int) -> int:
    """Run `command` as a job of several processes on this machine and wait for it.

    SIGTERM, SIGINT and SIGUSR2 are passed on. When one process fails, the others are ended. When this process is
    killed, they die with it.

    Returns:
        The exit code: 0, or that of the first process that failed.
    """
    environment = os.environ | {
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
    }
    environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    children: list[subprocess.Popen[bytes]] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        for child in children:
            if child.poll() is None:
                child.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)}
    try:
        for rank in range(processes):
            ranks = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            children.append(subprocess.Popen(command, env=environment | ranks, preexec_fn=_die_with_parent))
        return _wait(children)
    except OSError as error:
        raise LaunchError(f"can't start {' '.join(command)}: {error}") from error
    finally:
        _end(children)
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(children: Sequence[subprocess.Popen[bytes]]) -> int:
    """Wait for all, or for the first to fail; its exit code."""
    while True:
        codes = [child.poll() for child in children]
        failed = [code for code in codes if code]
        if failed:
            return failed[0] if failed[0] > 0 else 128 - failed[0]
        if None not in codes:
            return 0
        time.sleep(0.05)


def _end(children: Sequence[subprocess.Popen[bytes]]) -> None:
    """End what still runs: first politely, then for good."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for child in children:
            if child.poll() is None:
                child.send_signal(number)
        deadline = time.monotonic() + _GRACE_S
        while time.monotonic() < deadline and any(child.poll() is None for child in children):
            time.sleep(0.05)


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
