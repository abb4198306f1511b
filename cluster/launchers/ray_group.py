"""What a node of a Ray cluster does for a job: it runs a script, and passes signals on to it. Of the standard library
and Ray alone, and sent to the node as it is, so that the daemons need not have this program."""

import os
import signal
import socket
import subprocess
from collections.abc import Mapping


class RankGroup:
    """An actor, for one attempt after another; `signal` is called beside `run`."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._attempt = 0
        self._signalled = (0, 0)

    def place(self) -> tuple[str, str]:
        """The machine's name, and Ray's id of the node."""
        from ray import get_runtime_context

        return socket.gethostname(), get_runtime_context().get_node_id()

    def meeting_point(self) -> tuple[str, int]:
        """The address by which the cluster knows this machine, and a free port there."""
        from ray.util import get_node_ip_address

        host = str(get_node_ip_address())
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
            sock.bind((host, 0))
            return host, int(sock.getsockname()[1])

    def run(self, attempt: int, script: str, variables: Mapping[str, str]) -> int:
        """Run a bash script to its end, in which `$PPID` is this process; its exit code, or 128 + the signal that ended
        it. This process' thread lives as long as that, so that the script can ask to end with it."""
        # Ray sets it to the cores of all ranks together
        own = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
        self._process = subprocess.Popen(["bash", "-c", script], env={**own, **variables}, stdin=subprocess.DEVNULL)
        self._attempt = attempt
        of, number = self._signalled
        if of == attempt:
            self._process.send_signal(number)
        code = self._process.wait()
        return code if code >= 0 else 128 - code

    def signal(self, attempt: int, number: int) -> None:
        """Send a signal to an attempt, which may be about to begin."""
        self._signalled = (attempt, number)
        if self._process is not None and self._attempt == attempt:
            self._process.send_signal(signal.Signals(number))
