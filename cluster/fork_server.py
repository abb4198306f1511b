"""Processes that begin with everything imported: a server imports once, and forks as many as are asked for.

python -m cluster.fork_server FD PARENT MODULE [WORD …]     the server; each process goes on as python -m MODULE WORD …

The server does nothing but import, in one thread and without a GPU, so that nothing is lost by forking. A module that
is to begin warm has a function `get_ready(words)`, which imports what its command will need. What is forked becomes a
child of the process that asked for it, as one that it has started itself: it waits for it and signals it, and what is
forked ends with it. Linux only.
"""

import ctypes
import gc
import importlib
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle, send_handle

from cluster.importing import imports_at_once
from cluster.process_end import end_with
from cluster.stop_signals import STOP_SIGNALS

_PR_SET_NAME, _PR_SET_CHILD_SUBREAPER = 15, 36
_LOOK_EVERY_S = 0.05


def can_fork(command: list[str]) -> bool:
    """Whether a command's processes can be forked: it runs a module of this very Python."""
    return sys.platform == "linux" and command[1:2] == ["-m"] and shutil.which(command[0]) == sys.executable


class ForkServer:
    """The server of a command, seen from who asks it.

    Args:
        command: `python -m MODULE WORD …`
        environment: of the server. What libraries read as they are loaded (OMP_NUM_THREADS, say) is taken from it.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        ours, theirs = socket.socketpair()
        with theirs, ours:
            words = [str(theirs.fileno()), str(os.getpid()), *command[2:]]
            self._process = subprocess.Popen(
                [sys.executable, "-m", "cluster.fork_server", *words], env=dict(environment), pass_fds=[theirs.fileno()]
            )
            self._connection = Connection(ours.detach())

    def is_ready(self, is_hurried: Callable[[], object]) -> bool:
        """Wait until all is imported. Not where that fails, or somebody asks to leave meanwhile."""
        while not is_hurried():
            if self._connection.poll(_LOOK_EVERY_S):
                try:
                    return bool(self._connection.recv())
                except EOFError:  # what can't be imported a process that is started will say
                    return False
        return False

    def fork(self, name: str, environment: Mapping[str, str], output: int | None) -> "ForkedProcess":
        """A process as it would be started.

        Args:
            name: as it is listed by, up to 15 bytes.
            output: file descriptor for its stdout and stderr; None for the server's own.

        Raises:
            OSError: the server is gone, or can't fork.
        """
        prctl = ctypes.CDLL(None).prctl
        prctl(_PR_SET_CHILD_SUBREAPER, 1)  # whose parent has ended becomes a child of this process
        try:
            self._connection.send((name, dict(environment), output is not None))
            if output is not None:
                send_handle(self._connection, output, self._process.pid)
            pid = self._connection.recv()
            if pid is not None:
                self._connection.recv()
                return ForkedProcess(pid)
        except (EOFError, ConnectionError):
            pass
        finally:
            prctl(_PR_SET_CHILD_SUBREAPER, 0)
        raise ChildProcessError("the process that forks it has failed")

    @property
    def has_ended(self) -> bool:
        """Whether somebody has ended it."""
        return self._process.poll() is not None

    def close(self) -> None:
        """End the server; what it has forked goes on."""
        self._connection.close()
        self._process.kill()
        self._process.wait()


class ForkedProcess:
    """A child of this process that a server has forked for it; as of `subprocess.Popen`.

    Attributes:
        pid: its id.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None

    def poll(self) -> int | None:
        """Its exit code, −n where signal n killed it; None while it runs."""
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)


def serve(connection: Connection, module: str, words: Sequence[str], parent: int) -> None:
    """Serve until the parent is gone; returns in each process that was forked, which is the parent's child by then."""
    # they mean what is forked, which gets them from the parent too, and begins without those that wait here
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    with imports_at_once():
        program = importlib.import_module(module)
        if hasattr(program, "get_ready"):
            program.get_ready(words)
    del sys.modules[module]  # as which it will not run, but as __main__
    gc.freeze()  # what is shared stays so only as long as the collector does not write to it
    connection.send(True)
    while True:
        try:
            name, environment, has_output = connection.recv()
        except EOFError:
            os._exit(0)
        output = recv_handle(connection) if has_output else None
        between = os.fork()
        if not between:
            break
        os.waitpid(between, 0)
        connection.send(None)
        if output is not None:
            os.close(output)
    between = os.getpid()
    if forked := os.fork():
        connection.send(forked)
        os._exit(0)
    connection.close()
    while os.getppid() == between:
        time.sleep(0.001)
    end_with(parent)
    if output is not None:
        for standard in (1, 2):
            os.dup2(output, standard)
        os.close(output)
    sys.stdout.reconfigure(line_buffering=os.isatty(1))  # type: ignore[union-attr]
    ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode())
    os.environ.clear()
    os.environ.update(environment)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


if __name__ == "__main__":
    _, fd, parent, module, *words = sys.argv
    end_with(int(parent))
    serve(Connection(int(fd)), module, words, int(parent))
    sys.argv[1:] = words
    runpy.run_module(module, run_name="__main__", alter_sys=True)
