"""A Ray cluster of the machines that Slurm gave, for as long as one command runs: `srun` starts this once on each.

    srun … python -m cluster.launchers.ray_nodes COMMAND …

The first starts the head node and runs the command beside it, with RAY_ADDRESS set; it ends with the command's exit
code. The others start worker nodes, and end when the head is gone. (`ray symmetric-run` tells the head by its address,
which several nodes on one machine share.)
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from types import FrameType

from cluster.errors import LaunchError, UserError
from cluster.exit_codes import RESTART, WRONG_INPUT
from cluster.job_environment import Address, JobEnvironment
from cluster.scratch import scratch_folder

_START_S = 120.0
_HEAD_GONE_S = 5.0
_LEAVE = (signal.SIGTERM, signal.SIGUSR2)


class RayNode:
    """This machine's node.

    Attributes:
        asked_to_leave: whether a signal said so.
    """

    def __init__(self, job: JobEnvironment) -> None:
        assert job.main is not None
        self._is_head, self._head, self._nodes = job.is_main, job.main, job.world_size
        self.asked_to_leave = False
        self._command: subprocess.Popen[bytes] | None = None
        for number in _LEAVE:
            signal.signal(number, self._pass_on)

    def run(self, command: Sequence[str]) -> int:
        """Be a node until the command, which the head runs, has ended; the exit code.

        Raises:
            LaunchError: the head does not start.
        """
        with ExitStack() as stack:
            words = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"]
            words += [f"--num-cpus={len(os.sched_getaffinity(0))}"]
            address = f"{self._head.host}:{self._head.port}"
            if self._is_head:
                files = stack.enter_context(scratch_folder("gavt-ray-", "/tmp"))  # short: sockets lie in it
                words += ["--head", f"--port={self._head.port}", f"--temp-dir={files}/ray", "--include-dashboard=false"]
            else:
                _await(self._head)
                _await_nodes(address, 1)  # before the head is a node itself others are refused
                words += [f"--address={address}"]
            node = subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True)
            stack.callback(self._end, node)
            if not self._is_head:
                self._stay(node)
                return 0  # what the head says counts
            _await(self._head)
            _await_nodes(address, self._nodes)
            self._command = subprocess.Popen(command, env=os.environ | {"RAY_ADDRESS": address})
            code = self._command.wait()
        # a node that was told to leave, too, may be what the command stumbled over
        return RESTART if code and self.asked_to_leave else code if code >= 0 else 128 - code

    def _stay(self, node: "subprocess.Popen[bytes]") -> None:
        """Wait until the head is gone, or this node."""
        seen = time.monotonic()
        while node.poll() is None and not self.asked_to_leave and time.monotonic() < seen + _HEAD_GONE_S:
            if _answers(self._head):
                seen = time.monotonic()
            time.sleep(1)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self.asked_to_leave = True
        if self._command is not None and self._command.poll() is None:
            self._command.send_signal(signal.SIGTERM)

    def _end(self, node: "subprocess.Popen[bytes]") -> None:
        """End the node; at once where it is to leave, since Slurm gives less time than Ray takes."""
        node.terminate()
        with suppress(subprocess.TimeoutExpired):
            node.wait(0 if self.asked_to_leave else 20)
        with suppress(ProcessLookupError):
            os.killpg(node.pid, signal.SIGKILL)


def _answers(head: Address) -> bool:
    try:
        socket.create_connection((head.host, head.port), timeout=5).close()
    except OSError:
        return False
    return True


def _await(head: Address) -> None:
    until = time.monotonic() + _START_S
    while not _answers(head):
        if time.monotonic() > until:
            raise LaunchError(
                f"{head.host}:{head.port}: no head node of Ray in {_START_S:.0f} s; see the log of rank 0"
            )
        time.sleep(0.5)


def _await_nodes(address: str, nodes: int) -> None:
    """Wait until all nodes have joined; after two minutes go on with those that have."""
    from ray._private.state import GlobalState  # which takes seconds
    from ray._raylet import GcsClientOptions  # type: ignore[attr-defined]

    state = GlobalState()
    options = GcsClientOptions.create(address, None, allow_cluster_id_nil=True, fetch_cluster_id_if_nil=False)
    state._initialize_global_state(options)
    until = time.monotonic() + _START_S
    while (there := sum(node["Alive"] for node in state.node_table())) < nodes and time.monotonic() < until:
        time.sleep(0.5)
    if there == 0:
        raise LaunchError(f"{address}: no node of Ray has started in {_START_S:.0f} s; see the log of rank 0")


def main() -> None:
    """What `srun` starts."""
    try:
        job = JobEnvironment.of_this_process()
        if job.main is None:
            raise LaunchError(
                "cluster.launchers.ray_nodes: expected to be started by srun, once on each of several nodes"
            )
        code = RayNode(job).run(sys.argv[1:])
    except UserError as error:
        sys.stderr.write(f"gavt: {error}\n")
        raise SystemExit(WRONG_INPUT) from None
    raise SystemExit(code)


if __name__ == "__main__":
    main()
