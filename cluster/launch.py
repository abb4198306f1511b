"""Starting a job's processes on this machine, and starting them again when one dies."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from types import FrameType
from typing import IO

from cluster.cores import usable_cores
from cluster.errors import LaunchError
from cluster.exit_codes import HUNG, IN_USE, INTERRUPTED, RESTART, WRONG_INPUT
from cluster.fork_server import ForkedProcess, ForkServer
from cluster.free_port import free_port
from cluster.job_environment import Address, JobEnvironment, without_launcher
from cluster.stop_signals import heeded_signals, say_stopped_early

_GRACE_S = 30.0
_GRACE_OF_CRASHED_S = 5.0  # the others wait for one that is gone, and can't save anything
_SAME_S = 0.5


@dataclass(frozen=True)
class Failure:
    """How the process that failed first has ended.

    Attributes:
        rank: which one.
        code: its exit code; −n where signal n killed it.
    """

    rank: int
    code: int

    @property
    def is_crash(self) -> bool:
        """Whether the same command may do better at once: not where its input is wrong or in use, or where it left as
        it was asked to."""
        return self.code not in (WRONG_INPUT, IN_USE, RESTART, INTERRUPTED)

    @property
    def exit_code(self) -> int:
        """What the launcher should end with."""
        return RESTART if self.code == HUNG else self.code if self.code > 0 else 128 - self.code

    def __str__(self) -> str:
        if self.code < 0:
            return f"rank {self.rank} was killed by {signal.Signals(-self.code).name}"
        if self.code == HUNG:  # which is not to say that it was at fault
            return f"rank {self.rank} saw that the job hung"
        return f"rank {self.rank} ended with exit code {self.code}"


def launch_local(
    command: Sequence[str],
    processes: int,
    restarts: int = 0,
    reached: Callable[[], object] = lambda: None,
    on_crash: Callable[[Failure, int | None], None] = lambda failure, left: None,
    output: Callable[[int], IO[bytes] | None] = lambda rank: None,
    on_signal: Callable[[int], object] = lambda number: None,
    among: JobEnvironment | None = None,
) -> int:
    """Run `command` as a job of several processes on this machine and wait for it. One that runs a module of this
    Python imports once for all of them, now and whenever they start again (`cluster.fork_server`).

    SIGTERM, SIGINT, SIGUSR2 and SIGHUP are passed on; a second one kills the processes. When one process fails, the
    others are ended. When this process is killed, they die with it.

    Args:
        restarts: how often all processes are started again after one crashed or hung without progress in between.
        reached: gives something that differs once the job has come further, its newest checkpoint, say; None where
            nobody knows at the moment.
        on_crash: told of each crash, when all processes are gone, with the restarts that are left, this one counted;
            None where the job is given up.
        output: where a rank's stdout and stderr go; None: where this process' own do.
        on_signal: told of the first signal that asks to leave.
        among: who the first of the processes is, where they are some of a job over several machines.

    Returns:
        The exit code: 0, or that of the first process that failed.
    """
    job = _Processes(command, processes, output, on_signal, among or JobEnvironment(world_size=processes))
    with closing(job), job.passing_signals_on():
        left, before = restarts, reached() if restarts else None
        while True:
            failure = job.run()
            if failure is None:
                return 0
            if job.signalled:
                died = failure.code in (-job.signalled, -signal.SIGKILL)
                return (INTERRUPTED if job.signalled == signal.SIGINT else RESTART) if died else failure.exit_code
            if not failure.is_crash:
                return failure.exit_code
            if restarts and (now := reached()) not in (None, before):
                left, before = restarts, now
            on_crash(failure, left or None)
            if not left:
                return failure.exit_code
            left -= 1


class _Processes:
    """The processes of a job, again and again.

    Attributes:
        signalled: the first signal that this process got; 0 so far.
    """

    def __init__(
        self,
        command: Sequence[str],
        processes: int,
        output: Callable[[int], IO[bytes] | None],
        on_signal: Callable[[int], object],
        first: JobEnvironment,
    ) -> None:
        self._command, self._processes = command, processes
        self._output, self._on_signal = output, on_signal
        self._job = replace(first, local_world_size=processes, started_s=time.monotonic())
        threads = {"OMP_NUM_THREADS": str(max(1, usable_cores() // processes))}
        self._environment = threads | without_launcher(os.environ)
        self._server: ForkServer | None = None
        self._children: list[subprocess.Popen[bytes] | ForkedProcess] = []
        self.signalled = 0
        self._signalled_at = 0.0

    def passing_signals_on(self) -> "_PassingOn":
        """A block in which signals reach the processes."""
        return _PassingOn(self._pass_on)

    def run(self) -> Failure | None:
        """Start all processes and wait until they are gone; what failed first, if anything did."""
        self._children = []
        try:
            server = self._ready_server()
            if self.signalled:
                say_stopped_early(self.signalled)
                return Failure(self._job.rank, -self.signalled)
            job = replace(self._job, main=self._job.main or Address("127.0.0.1", free_port()))
            for local in range(self._processes):
                rank = job.rank + local
                environment = self._environment | replace(job, rank=rank, local_rank=local).variables()
                log = self._output(rank)
                output = None if log is None else log.fileno()
                self._children.append(server.start(f"rank {rank}", environment, output=output))
            if self.signalled:  # it came while they were started
                self._send(self.signalled)
            failure = self._wait()
        except OSError as error:
            raise LaunchError(f"can't start {' '.join(self._command)}: {error}") from error
        finally:
            self._end(_GRACE_S)
        return failure

    def _ready_server(self) -> ForkServer:
        """What starts the processes, when it has imported for them or somebody asks to leave."""
        if self._server is None or self._server.has_ended:
            self.close()
            self._server = ForkServer(self._command, self._environment)
        self._server.wait(lambda: self.signalled)
        return self._server

    def close(self) -> None:
        """No process will be started any more."""
        if self._server is not None:
            self._server.close()
        self._server = None

    def _wait(self) -> Failure | None:
        """Wait for all, or for the first to fail."""
        while True:
            codes = [child.poll() for child in self._children]
            failed = [Failure(rank, code) for rank, code in enumerate(codes, self._job.rank) if code]
            if failed:
                break
            if None not in codes:
                return None
            time.sleep(0.05)
        # one that was killed is why another has failed; what was wrong with the input says most
        failure = min(failed, key=lambda one: (one.code not in (WRONG_INPUT, IN_USE), one.code > 0))
        if failure.code == HUNG:
            self._send(signal.SIGKILL)
        elif failure.is_crash:
            self._end(_GRACE_OF_CRASHED_S)
        else:  # all of them are leaving
            self._await_end(_GRACE_S)
        return failure

    def _end(self, grace_s: float) -> None:
        """End what still runs: first politely, then for good."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            self._send(number)
            self._await_end(grace_s)

    def _await_end(self, limit_s: float) -> None:
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline and any(child.poll() is None for child in self._children):
            time.sleep(0.05)

    def _send(self, number: int) -> None:
        for child in self._children:
            if child.poll() is None:
                child.send_signal(number)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        if self.signalled and time.monotonic() > self._signalled_at + _SAME_S:
            number = signal.SIGKILL
        elif not self.signalled:
            self.signalled, self._signalled_at = number, time.monotonic()
            self._on_signal(number)
        self._send(number)


class _PassingOn:
    """A block in which the signals that ask to leave go to a handler."""

    def __init__(self, handler: Callable[[int, FrameType | None], None]) -> None:
        self._handler = handler

    def __enter__(self) -> None:
        self._before = {number: signal.signal(number, self._handler) for number in heeded_signals()}

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
