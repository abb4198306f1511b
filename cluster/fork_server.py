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
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from multiprocessing.connection import Connection, Pipe
from multiprocessing.reduction import recv_handle, send_handle

from cluster.exit_codes import INTERRUPTED
from cluster.importing import imports_at_once
from cluster.process_end import end_with
from cluster.stop_signals import STOP_SIGNALS

_PR_SET_NAME, _PR_SET_CHILD_SUBREAPER = 15, 36
_LOOK_EVERY_S = 0.05
_START_S = 300.0  # where many import from one slow disk
_ANSWERS_S = 30.0  # after which a server was stopped, and is none any more
_forking = threading.Lock()  # this process adopts orphans, or it does not: all of its servers fork one after the other


class ForkServer:
    """The server of a command, seen from who starts processes of it. One that it can't fork, as the command runs no
    module of this very Python or the server has failed, is started in the ordinary way, and says itself what is wrong.

    Args:
        command: `python -m MODULE WORD …`, or any other.
        environment: of the server. What libraries read as they are loaded (OMP_NUM_THREADS, say) is taken from it.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._command, self._environment = list(command), dict(environment)
        self._asking = threading.Lock()
        self._server: subprocess.Popen[bytes] | None = None
        self._is_ready = False
        if sys.platform != "linux" or self._command[1:2] != ["-m"] or shutil.which(command[0]) != sys.executable:
            return
        ours, theirs = socket.socketpair()
        with ours, theirs:
            words = [sys.executable, "-m", __name__, str(theirs.fileno()), str(os.getpid()), *self._command[2:]]
            # from the first moment: they mean what is forked, and a Ctrl-C finds the server's Python at its start
            before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
            try:
                self._server = subprocess.Popen(words, env=self._environment, pass_fds=[theirs.fileno()])
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
            self._connection = Connection(ours.detach())

    @property
    def has_ended(self) -> bool:
        """Whether there is no server, or none any more."""
        return self._server is None or self._server.poll() is not None

    def wait(self, is_hurried: Callable[[], object]) -> None:
        """Wait until all is imported, or can't be, or somebody is in a hurry."""
        while not self._is_ready and not self.has_ended and not is_hurried():
            self._is_ready = self._hear(_LOOK_EVERY_S) is not None

    def start(
        self,
        name: str,
        environment: Mapping[str, str] | None = None,
        stdin: int | None = None,
        output: int | None = None,
    ) -> "subprocess.Popen[bytes] | ForkedProcess":
        """A process that runs the command, and ends with this one.

        Args:
            name: as it is listed by, up to 15 bytes, where it is forked.
            environment: by default the server's.
            stdin: file descriptor; None for that of this process.
            output: the same, for stdout and stderr.

        Raises:
            OSError: it can't be started.
        """
        environment = self._environment if environment is None else environment
        with self._asking:
            until = time.monotonic() + _START_S
            self.wait(lambda: time.monotonic() > until)
            forked = self._fork(name, environment, {0: stdin, 1: output, 2: output}) if self._is_ready else None
            if forked is not None:
                return forked
            self._end()
        ends = partial(end_with, os.getpid())
        return subprocess.Popen(
            self._command, env=environment, preexec_fn=ends, stdin=stdin, stdout=output, stderr=output
        )

    def close(self) -> None:
        """End the server; what it has forked goes on."""
        self._end()
        with self._asking:  # whoever waits for it has heard that by now
            if self._server is not None:
                self._connection.close()

    def _fork(
        self, name: str, environment: Mapping[str, str], standard: Mapping[int, int | None]
    ) -> "ForkedProcess | None":
        assert self._server is not None
        given = {number: handle for number, handle in standard.items() if handle is not None}
        prctl = ctypes.CDLL(None).prctl
        ours, theirs = Pipe()
        with _forking, ours, theirs:
            prctl(_PR_SET_CHILD_SUBREAPER, 1)  # whose parent has ended becomes a child of this process
            try:
                self._connection.send((name, dict(environment), list(given)))
                for handle in (theirs.fileno(), *given.values()):
                    send_handle(self._connection, handle, self._server.pid)
                theirs.close()
                if not ours.poll(_ANSWERS_S):
                    return None
                forked = ForkedProcess(ours.recv())
                ours.send(1)
                return forked
            except (EOFError, ConnectionError):
                return None
            finally:
                prctl(_PR_SET_CHILD_SUBREAPER, 0)

    def _hear(self, seconds: float) -> int | None:
        """What the server says within a time."""
        try:
            said: int | None = self._connection.recv() if self._connection.poll(seconds) else None
        except (EOFError, ConnectionError):
            self._end()
            return None
        return said

    def _end(self) -> None:
        self._is_ready = False
        if self._server is not None:
            self._server.kill()
            self._server.wait()


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

    def wait(self) -> int:
        """Its exit code, when it has ended."""
        if self._code is None:
            self._code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


def serve(connection: Connection, module: str, words: Sequence[str], parent: int) -> None:
    """Serve until the parent is gone; returns in each process that was forked, which is the parent's child by then."""
    with imports_at_once():
        program = importlib.import_module(module)
        if hasattr(program, "get_ready"):
            program.get_ready(words)
    del sys.modules[module]  # as which it will not run, but as __main__
    gc.freeze()  # what is shared stays so only as long as the collector does not write to it
    connection.send(1)
    while True:
        try:
            name, environment, standard = connection.recv()
        except EOFError:
            os._exit(0)
        asker = Connection(recv_handle(connection))
        handles = {number: recv_handle(connection) for number in standard}
        between = os.fork()
        if not between:
            break
        os.waitpid(between, 0)
        asker.close()
        for handle in handles.values():
            os.close(handle)
    between = os.getpid()
    if os.fork():
        os._exit(0)
    connection.close()
    while os.getppid() == between:
        time.sleep(0.001)
    end_with(parent)
    _wait_until_known(asker)
    for number, handle in handles.items():
        os.dup2(handle, number)
        os.close(handle)
    if sys.stdout is not None:  # else the server began without one
        sys.stdout.reconfigure(line_buffering=os.isatty(1))  # type: ignore[union-attr]
    ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode())
    os.environ.clear()
    os.environ.update(environment)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    except KeyboardInterrupt:  # while it was forked, and nothing had begun that could be interrupted
        os._exit(INTERRUPTED)


def _wait_until_known(asker: Connection) -> None:
    """Tell who asked for this process that it is there, and end it where nobody waits for it any more: when the server
    was killed or stopped meanwhile, another was started in its place."""
    with asker:
        try:
            asker.send(os.getpid())
            asker.recv()
        except (EOFError, ConnectionError):
            os._exit(1)


if __name__ == "__main__":
    _, fd, parent, module, *words = sys.argv
    end_with(int(parent))
    serve(Connection(int(fd)), module, words, int(parent))
    sys.argv[1:] = words
    runpy.run_module(module, run_name="__main__", alter_sys=True)
