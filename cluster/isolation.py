"""Calls in a process of their own, so that what crashes, hangs or eats memory takes nothing else with it.

The process is kept from call to call, and ends when its parent does. Arguments and results travel by pickle over pipes.
"""

import importlib
import os
import pickle
import selectors
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import IO, Any, Generic, Literal, NoReturn, ParamSpec, TypeVar

from cluster.errors import WorkerPoolError

P = ParamSpec("P")
R = TypeVar("R")
Fate = Literal["crash", "killed", "timeout", "memory"]

_LENGTH = struct.Struct("<Q")
_LOOK_EVERY_S = 0.1
_START_S = 120.0


class ProcessLost(Exception):
    """The process died during a call or was ended by its limits.

    Attributes:
        fate: `crash`, it died by itself; `killed`, somebody else ended it with signal 9, as the kernel does where
            memory runs out; `timeout` and `memory`, it met its limits.
    """

    def __init__(self, fate: Fate, message: str) -> None:
        super().__init__(message)
        self.fate: Fate = fate


class Isolated(Generic[P, R]):
    """Calls a function of a module in another process.

    An exception of the function is raised here too. The process starts with the first call, and anew after it was lost.

    Args:
        function: a module's function; the other process imports it by name.
        deadline_s: longest time of a call, start of the process not counted.
        memory_mb: most resident memory of the process; watched on Linux only.
        renew_after: calls after which the process gives way to a new one, so that what libraries leak never adds up;
            None keeps it.
    """

    def __init__(
        self, function: Callable[P, R], deadline_s: float, memory_mb: int, renew_after: int | None = None
    ) -> None:
        self._function = function
        self._deadline_s = deadline_s
        self._memory_mb = memory_mb
        self._renew_after = renew_after
        self._calls = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Isolated[P, R]":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function with the usual deadline; see `call`."""
        return self.call(self._deadline_s, *args, **kwargs)

    def call(self, deadline_s: float, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function with a deadline (s) of its own.

        Raises:
            ProcessLost: the process died, took too long or took too much memory.
            WorkerPoolError: it can't be started, or can't import the function.
        """
        if self._calls == self._renew_after:
            self.close()
        process = self._process or self._start()
        self._calls += 1
        assert process.stdin is not None
        try:
            _send(process.stdin, (args, kwargs))
        except BrokenPipeError:
            self._lose(*_fate_of(process.wait()))
        good, value = self._receive(deadline_s)
        if not good:
            raise value
        result: R = value
        return result

    @property
    def pid(self) -> int:
        """The process's id, once the first call was made."""
        if self._process is None:
            raise ValueError("there is no process before the first call")
        return self._process.pid

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def _start(self) -> "subprocess.Popen[bytes]":
        # the parent's search path, so that the function is found wherever its module came from
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
        name = f"{self._function.__module__}:{self._function.__qualname__}"
        command = [sys.executable, "-c", f"from {__name__} import serve; serve()", name]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, start_new_session=True
        )
        self._process = process
        self._calls = 0
        try:
            started, error = self._receive(_START_S)
        except ProcessLost as lost:
            if lost.fate == "killed":
                raise
            raise WorkerPoolError(f"the process for {name} did not start: {lost}") from lost
        if not started:
            self.close()
            raise WorkerPoolError(f"the process for {name} can't import it: {error}") from error
        return process

    def _receive(self, deadline_s: float) -> tuple[bool, Any]:
        process = self._process
        until = time.monotonic() + deadline_s
        assert process is not None
        assert process.stdout is not None
        parts: list[bytes] = []
        missing = _LENGTH.size
        header = True
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while missing:
                if not selector.select(_LOOK_EVERY_S):
                    if time.monotonic() > until:
                        self._lose("timeout", f"took longer than {deadline_s:.3g} s")
                    self._check_memory(process.pid)
                    continue
                part = os.read(process.stdout.fileno(), min(missing, 1 << 20))
                if not part:
                    self._lose(*_fate_of(process.wait()))
                parts.append(part)
                missing -= len(part)
                if header and not missing:
                    (missing,) = _LENGTH.unpack(b"".join(parts))
                    parts, header = [], False
        answer: tuple[bool, Any] = pickle.loads(b"".join(parts))
        return answer

    def _check_memory(self, pid: int) -> None:
        used = resident_mb(pid)
        if used is not None and used > self._memory_mb:
            self._lose("memory", f"took {used:.0f} MB of memory, more than {self._memory_mb} MB")

    def _lose(self, fate: Fate, message: str) -> NoReturn:
        self.close()
        raise ProcessLost(fate, message)


def resident_mb(pid: int) -> float | None:
    """Resident memory of a process in MB; None where there is no /proc."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1])
    except (OSError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def private_mb() -> float | None:
    """Memory of this process that it shares with no other and with no file, in MB; None where there is no /proc."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            _, resident, shared, *_ = map(int, file.read().split())
    except (OSError, ValueError):
        return None
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE") / 1e6


def peak_resident_mb(pid: int) -> float:
    """Most resident memory that a process had so far, in MB; Linux only."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise ValueError(f"/proc/{pid}/status tells no VmHWM")


def serve() -> None:
    """The other process: import the function named on the command line and answer calls until the parent is gone."""
    _be_first_to_go()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not get among the answers
    calls: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=_take_calls, args=(calls,), daemon=True).start()
    try:
        function = _import(sys.argv[1])
    except Exception as error:
        _send(answers, (False, error))
        return
    _send(answers, (True, None))
    while True:
        args, kwargs = calls.get()
        try:
            answer: tuple[bool, Any] = (True, function(*args, **kwargs))
        except Exception as error:
            answer = (False, error if _can_travel(error) else RuntimeError(f"{type(error).__name__}: {error}"))
        _send(answers, answer)


def _be_first_to_go() -> None:
    """Where memory runs out, the kernel ends this process rather than the one that watches it."""
    with suppress(OSError):  # no Linux, or not allowed: then as before
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="utf-8")


def _take_calls(calls: "SimpleQueue[Any]") -> None:
    """Read calls beside the work, so that the parent's end is noticed even while a call hangs."""
    source = os.fdopen(0, "rb")
    while header := source.read(_LENGTH.size):
        calls.put(pickle.loads(source.read(_LENGTH.unpack(header)[0])))
    os._exit(0)


def _can_travel(error: Exception) -> bool:
    try:
        return type(pickle.loads(pickle.dumps(error))) is type(error)
    except Exception:  # whatever an exception's own code raises here, the answer is no
        return False


def _import(name: str) -> Callable[..., Any]:
    module, _, path = name.partition(":")
    found: Any = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    function: Callable[..., Any] = found
    return function


def _send(pipe: IO[bytes], message: Any) -> None:
    content = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    pipe.write(_LENGTH.pack(len(content)) + content)
    pipe.flush()


def _fate_of(code: int) -> tuple[Fate, str]:
    if code == -9:
        return "killed", "its process was killed (signal 9), as happens when memory runs out"
    if code < 0:
        return "crash", f"its process died of signal {-code}"
    return "crash", f"its process ended with code {code}"
