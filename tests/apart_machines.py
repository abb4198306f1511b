"""Machines that share nothing but the network between them, on this one: each has an address, a host name, processes,
temporary files, a home and shared memory of its own."""

import contextlib
import ctypes
import itertools
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

PACKAGES = ("iproute2", "util-linux")
_NAMED = re.compile(r"gavt-(\d+)x\d+-\d+")
_NUMBERS = itertools.count()
# what lies in the folder of all machines is seen as the machine's own folder, and nothing else of it
_ENTER = """\
set -e
hostname "$1"; mount --bind "$2/hosts" /etc/hosts; mount --bind "$2/$1" "$2"; mount -t tmpfs shm /dev/shm
cd "$2"; shift 2; exec "$@"
"""


def why_not() -> str | None:
    """Why there can be none here, in one sentence; None if there can."""
    try:
        done = subprocess.run(
            ["unshare", "--net", "--mount", "--uts", "--pid", "--fork", "ip", "link"], capture_output=True
        )
    except FileNotFoundError:
        return f"no unshare on this machine: apt-get install {' '.join(PACKAGES)}"
    if done.returncode:
        return f"no namespaces can be made here, or no ip is there: apt-get install {' '.join(PACKAGES)}"
    return None


class Network:
    """A bridge with machines on it, for the time of a `with` block; this one is on it too.

    Attributes:
        address: of this machine on the bridge.
        machines: those on it.
    """

    def __init__(self, folder: Path, machines: int = 2) -> None:
        self._name = f"{os.getpid()}x{next(_NUMBERS)}"
        subnet = f"10.{200 + secrets.randbelow(50)}.{secrets.randbelow(250)}"
        self.address = f"{subnet}.1"
        self.machines = [
            Machine(f"gavt-{self._name}-{number}", f"host{number}", f"{subnet}.{number + 10}", folder)
            for number in range(machines)
        ]
        self._folder = folder

    def __enter__(self) -> "Network":
        _remove_left()
        self._folder.mkdir(parents=True, exist_ok=True)
        names = "".join(f"{one.address} {one.name}\n" for one in self.machines)
        (self._folder / "hosts").write_text(f"127.0.0.1 localhost\n{names}")
        bridge = f"gv{self._name}"
        try:
            _ip("link", "add", bridge, "type", "bridge")
            _ip("address", "add", f"{self.address}/24", "dev", bridge)
            _ip("link", "set", bridge, "up")
            for number, machine in enumerate(self.machines):
                machine.connect(bridge, f"{bridge}.{number}")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for machine in self.machines:
            machine.kill()
            subprocess.run(["ip", "netns", "delete", machine.space], capture_output=True)
        subprocess.run(["ip", "link", "delete", f"gv{self._name}"], capture_output=True)


class Machine:
    """One of them.

    Attributes:
        space: its network's name here.
        name: of the host, as the machines know each other.
        address: on the bridge.
        folder: its own, which its processes see in the place of that of all machines.
    """

    def __init__(self, space: str, name: str, address: str, folder: Path) -> None:
        self.space, self.name, self.address, self._all = space, name, address, folder
        self.folder = folder / name
        self._started: list[subprocess.Popen[bytes]] = []

    def connect(self, bridge: str, cable: str) -> None:
        """Put it on the bridge."""
        _ip("netns", "add", self.space)
        _ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", self.space)
        _ip("link", "set", cable, "master", bridge, "up")
        _ip("-n", self.space, "address", "add", f"{self.address}/24", "dev", "eth0")
        for name in ("lo", "eth0"):
            _ip("-n", self.space, "link", "set", name, "up")
        for name in ("home", "tmp"):
            (self.folder / name).mkdir(parents=True)

    def start(self, words: Sequence[str], variables: Mapping[str, str]) -> "subprocess.Popen[bytes]":
        """Start a process there, in its folder; what it says goes to `said` there."""
        own = {"HOME": f"{self._all}/home", "TMPDIR": f"{self._all}/tmp", "OMP_NUM_THREADS": "1"}
        own["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, [*sys.path[:1], os.getcwd()]))
        apart = ["unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
        with (self.folder / "said").open("ab") as said:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self.space, *apart, "bash", "-c", _ENTER, "bash", self.name, self._all, *words],
                env={name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
                | own
                | variables,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
                preexec_fn=_end_with_this_process,
            )
        self._started.append(process)
        return process

    def said(self) -> str:
        """What its processes have said."""
        return (self.folder / "said").read_text()

    def stand_still(self) -> None:
        """Stop all that runs there, as a machine that swaps or is moved does."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Have what stood still go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for pid in _running(self.space):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        """End all that runs there at once, as a cut of the power does."""
        until = time.monotonic() + 20
        while _running(self.space) and time.monotonic() < until:
            self._signal(signal.SIGKILL)
            for process in self._started:
                process.poll()
            time.sleep(0.02)
        for process in self._started:
            process.wait(20)
        self._started.clear()


def _running(space: str) -> list[int]:
    shown = subprocess.run(["ip", "netns", "pids", space], capture_output=True, text=True).stdout
    return [int(pid) for pid in shown.split()]


def _remove_left() -> None:
    """Remove networks whose test was killed."""
    shown = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    for space in (line.split()[0] for line in shown.splitlines() if line):
        named = _NAMED.fullmatch(space)
        if named is not None and not psutil.pid_exists(int(named[1])):
            for pid in _running(space):
                os.kill(pid, signal.SIGKILL)
            subprocess.run(["ip", "netns", "delete", space], capture_output=True)
            bridge = f"gv{space.split('-')[1]}"
            subprocess.run(["ip", "link", "delete", bridge], capture_output=True)


def _end_with_this_process() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
