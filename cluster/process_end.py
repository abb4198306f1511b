"""How a process ends that is one of several.

gloo's threads let go of what they have sent after the main thread has gone on, and may need the interpreter for it. One
that comes too late, when the interpreter tears itself down, is ended by it in the middle of a destructor, and with it
the process: "terminate called without an active exception", long after all was saved. Leaving the group doesn't help
where something still has it, as DeepSpeed's engines do.
"""

import atexit
import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1

_without_teardown = False


def skip_teardown() -> None:
    """Have `end_process` end this process without the interpreter's teardown."""
    global _without_teardown
    _without_teardown = True


def end_process(code: int | str | None) -> None:
    """Where `skip_teardown` was called, end the process: what was registered for its exit is done, and what was written
    is flushed. Else do nothing.

    Args:
        code: as `sys.exit` takes it.
    """
    if not _without_teardown:
        return
    if isinstance(code, str):
        sys.stderr.write(f"{code}\n")
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(1 if isinstance(code, str) else code or 0)


def end_with(parent: int) -> None:
    """Have this process end when the one that started it does (more exactly: that thread of it), on Linux by the
    kernel: the other ways to notice need a process that moves, and this one may be stopped."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has gone meanwhile
        os._exit(1)
