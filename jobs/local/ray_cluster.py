"""A Ray cluster of several nodes on this machine, for tests and trials: each node is a session of its own.

    python -m jobs.local.ray_cluster start [ROOT] [--nodes N] [--cpus N]     prints the address
    python -m jobs.local.ray_cluster stop [ROOT]

Any number can run side by side: ports are free ones of loopback addresses and everything else lies in ROOT, which only
its user may enter and whose path must be short, since Ray's sockets lie in it:

    ROOT/home              the home folder of the daemons
    ROOT/ray/session_*     Ray's own files, which it lets everybody write to
    ROOT/token             what a driver must know
    ROOT/node-0.out …      what the daemons print
    ROOT/cluster.json      address and process ids; written when the nodes are there
"""

import argparse
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from cluster.errors import UserError
from cluster.private_folder import private_folder

_START_S = 300.0  # its own limits are shorter
_STORE_BYTES = 80_000_000
_AGENTS = ("dashboard-agent-listen", "dashboard-agent-grpc", "runtime-env-agent", "metrics-export")
_RAY = """
import os, time
from ray._private import services
from ray._raylet import DASHBOARD_AGENT_LISTEN_PORT_NAME, persist_port
services.get_node_ip_address = lambda address=None: "127.0.0.1"  # whatever it is told, it takes one of the network
from ray.scripts.scripts import main
look = services.get_node
def look_longer(*words):  # than the half minute that Ray gives its own daemon
    until = time.monotonic() + 280
    while True:
        try:
            return look(*words)
        except RuntimeError:
            if time.monotonic() > until:
                raise
        time.sleep(0.5)
services.get_node = look_longer
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # for what is started here; itself would refuse a second node
start = services.start_ray_process
def start_less(command, *words, **named):
    if any(str(word).endswith("dashboard/dashboard.py") for word in command) and "--disable-frontend" not in command:
        command = [*command, "--modules-to-load=UsageStatsHead,JobHead,StateHead,NodeHead"]
    told = dict(word.lstrip("-").split("=", 1) for word in map(str, command) if "=" in word)
    if "raylet_socket_name" in told:  # which ends itself where its agent has not said in 15 s which port it takes
        port = int(told["dashboard_agent_command"].split("--listen-port=")[1].split()[0])
        persist_port(told["session_dir"], told["node_id"], DASHBOARD_AGENT_LISTEN_PORT_NAME, port)
    return start(command, *words, **named)
services.start_ray_process = start_less  # a dashboard of what jobs need, in 4 processes instead of 10
main()
"""
# a node that was killed is given up after a few seconds instead of a minute; one that is only slow is not
_SETTINGS = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "285",
    "RAY_agent_register_timeout_ms": "280000",
    "RAY_worker_niceness": "0",  # by itself Ray gives way to all else that the machine does
    "RAY_health_check_initial_delay_ms": "500",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "10000",
    "RAY_health_check_failure_threshold": "5",
}


class RayClusterError(UserError):
    """The cluster can't be started."""


class RayCluster:
    """A running cluster; node 0 is the head.

    Attributes:
        address: `host:port`, for `--ray-address`.
        dashboard: its URL, for `gavt submit --to ray --address`; None where the cluster has none.
    """

    def __init__(self, root: Path, cpus: int, dashboard: bool = False, python: str = sys.executable) -> None:
        """With another Python the nodes have what that one has, and not this program."""
        self.root = root
        self._cpus, self._python = cpus, python
        self._port = _free_port()
        self.address = f"127.0.0.1:{self._port}"
        self.dashboard = f"http://127.0.0.1:{_free_port()}" if dashboard else None
        self._nodes: dict[int, int] = {}
        self._started = 0
        (private_folder(root) / "home").mkdir(exist_ok=True)
        (root / "token").write_text(secrets.token_hex(32), encoding="utf-8")

    def environment(self) -> dict[str, str]:
        """Variables for a driver: it must agree with the daemons on how they trust each other."""
        own = {"HOME": str(self.root / "home"), "RAY_AUTH_TOKEN_PATH": str(self.root / "token")}
        return {**_SETTINGS, **own, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}  # for the same reason as in `_RAY`

    def start_node(self) -> int:
        """Start the head, or one more node; gives its number when it is in the cluster."""
        number = self._started
        self._started += 1
        command = [self._python, "-c", _RAY, "start", "--block", "--disable-usage-stats"]
        ports = {name: _free_port() for name in _AGENTS}
        command += [f"--{name}-port={port}" for name, port in ports.items()]
        command += [f"--node-name=node-{number}"]
        command += [f"--num-cpus={self._cpus}", "--num-gpus=0", f"--object-store-memory={_STORE_BYTES}"]
        if number == 0:
            command += ["--head", f"--port={self._port}", f"--ray-client-server-port={_free_port()}"]
            command += [f"--temp-dir={self.root / 'ray'}", *self._dashboard_words()]
        else:
            command += [f"--address={self.address}"]
        environment = self._environment()
        if self._python == sys.executable:  # the daemons' workers import this program by the path of the checkout
            paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
            environment |= {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
        else:
            environment.pop("PYTHONPATH", None)
        del environment["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"]  # with which a second node is refused
        with (self.root / f"node-{number}.out").open("wb") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
            )
        self._nodes[number] = process.pid
        self._wait_for(number, process, ports[_AGENTS[0]])
        (self.root / "cluster.json").write_text(
            json.dumps({"address": self.address, "nodes": self._nodes}), encoding="utf-8"
        )
        return number

    def _dashboard_words(self) -> list[str]:
        if self.dashboard is None:
            return ["--include-dashboard=false"]
        port = self.dashboard.rpartition(":")[2]
        return ["--include-dashboard=true", "--dashboard-host=127.0.0.1", f"--dashboard-port={port}"]

    def kill_node(self, number: int) -> None:
        """End a node with all its workers, as a preemption does: SIGKILL, no warning."""
        _kill_session(self._nodes.pop(number))

    def processes(self, number: int) -> list[psutil.Process]:
        """All processes of a node."""
        return _session(self._nodes[number])

    def stop(self) -> None:
        """End all nodes."""
        for pid in reversed(self._nodes.values()):
            _kill_session(pid)

    def _environment(self) -> dict[str, str]:
        environment = os.environ | self.environment()
        environment.pop("RAY_AUTH_TOKEN", None)  # another cluster's would win over the file
        return environment

    def _wait_for(self, number: int, process: "subprocess.Popen[bytes]", agent: int) -> None:
        """Wait until a node says that it is in the cluster and, where jobs are taken, its agent answers, which starts
        them. A node that can't be gives up by itself."""
        log, until = self.root / f"node-{number}.out", time.monotonic() + _START_S
        while process.poll() is None and time.monotonic() < until:
            is_there = "Ray runtime started." in log.read_text(errors="replace", encoding="utf-8")
            if is_there and (self.dashboard is None or _answers(agent)):
                return
            time.sleep(0.1)
        said = log.read_text(errors="replace", encoding="utf-8").strip().splitlines()
        self.stop()
        raise RayClusterError(f"Ray node {number} did not start on this machine: {' '.join(said[-3:]) or 'no word'}")


def _session(leader: int) -> list[psutil.Process]:
    """Processes of a session, found by their session id, since Ray's children change their parents."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


def _kill_session(leader: int) -> None:
    """Processes that a node's workers started in sessions of their own end by themselves, when their parents do."""
    until = time.monotonic() + 10
    while (there := _session(leader)) and time.monotonic() < until:
        for process in there:
            try:
                os.kill(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.1)
    try:
        os.waitpid(leader, os.WNOHANG)
    except ChildProcessError:
        return


def _answers(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["start", "stop"])
    parser.add_argument("root", nargs="?", default=str(Path(tempfile.gettempdir()) / "gavt-ray-cluster"), type=Path)
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--cpus", type=int, default=2, help="CPUs a node")
    given = parser.parse_args()
    try:
        if given.action == "stop":
            running = json.loads((given.root / "cluster.json").read_text(encoding="utf-8"))
            for pid in running["nodes"].values():
                _kill_session(pid)
            shutil.rmtree(given.root)
            return
        cluster = RayCluster(given.root, given.cpus)
        for _ in range(given.nodes):
            cluster.start_node()
    except FileNotFoundError:
        sys.stderr.write(f"{given.root}: no cluster was started there\n")
        raise SystemExit(2) from None
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from None
    variables = " ".join(f"{name}={value}" for name, value in cluster.environment().items())
    sys.stdout.write(f"export {variables}\ngavt prepare … --ray-address {cluster.address}\n")


if __name__ == "__main__":
    main()
