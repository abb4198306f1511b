"""One worker process, seen from the trainer.

It is forked as soon as what forks it has imported; nobody waits for that. Its messages come and go through two threads:
a process that doesn't move, whatever it was doing, never stops the trainer, and one whose trainer is busy for long
never waits to be heard.
"""

import os
import socket
import subprocess
import threading
from collections import OrderedDict
from concurrent.futures import Future
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler, send_handle
from queue import SimpleQueue

from cluster.errors import WorkerPoolError
from cluster.fork_server import ForkedProcess, ForkServer
from pipeline.stream.worker import Alive, DecodeTask

Heard = SimpleQueue["tuple[WorkerProcess, object]"]
"""What processes said, in order; None where one is gone."""


class WorkerProcess:
    """A process that was started, and what it is at.

    Args:
        heard: where its messages are put, all but the signs of life.
        server: what starts it.

    Attributes:
        tasks: given and not done, by number.
        ready: whether it has started.
        decoding: number of the task that it decodes.
        decoding_s, silent_s: how long the trainer has listened and not heard of that task's end, or of anything.
        moved: whether it was heard since this was last set to False.
    """

    def __init__(self, heard: Heard, server: ForkServer) -> None:
        self.tasks: OrderedDict[int, DecodeTask] = OrderedDict()
        self.ready = False
        self.decoding: int | None = None
        self.decoding_s = self.silent_s = 0.0
        self.moved = False
        self._heard = heard
        self._outbox: SimpleQueue[tuple[bytes, int | None] | None] = SimpleQueue()
        self._socket, self._its_socket = socket.socketpair()
        self._server = server
        self._process: Future[subprocess.Popen[bytes] | ForkedProcess] = Future()
        self._connection = Connection(os.dup(self._socket.fileno()))
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._write, self._read)]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        """Its id."""
        return self._process.result().pid

    def say(self, message: object, handle: int | None = None) -> None:
        """Send a message, and a file descriptor behind it; returns at once. What is gone hears nothing."""
        self._outbox.put((bytes(ForkingPickler.dumps(message)), handle))

    def kill(self) -> None:
        """End it, without waiting for that."""
        if self._process.exception() is None:
            self._process.result().kill()

    def end(self) -> int:
        """End it if it is still there; the code with which it ended.

        Raises:
            WorkerPoolError: it could not be started.
        """
        self.close()
        return self._process.result().wait()

    def close(self) -> None:
        """End it if it is still there, and whatever there is here for it."""
        self.kill()
        if self._process.exception() is None:
            self._process.result().wait()
        if self._connection.closed:
            return
        self._outbox.put(None)
        self._socket.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._connection.close()
        self._socket.close()

    def _write(self) -> None:
        # which lives as long as the process: the kernel ends a child with the thread that has started it
        with self._its_socket as its_stdin:
            try:
                self._process.set_result(self._server.start("loader worker", stdin=its_stdin.fileno()))
            except OSError as error:
                self._process.set_exception(WorkerPoolError(f"can't start a loader process: {error}"))
                return  # the other thread says that there is none
        try:
            while (item := self._outbox.get()) is not None:
                content, handle = item
                self._connection.send_bytes(content)
                if handle is not None:
                    send_handle(self._connection, handle, self.pid)
        except OSError:
            return  # it is gone, which the other thread says

    def _read(self) -> None:
        try:
            while True:
                message = self._connection.recv()
                self.moved = True
                if not isinstance(message, Alive):
                    self._heard.put((self, message))
        except (EOFError, OSError):
            return
        finally:
            self._heard.put((self, None))
