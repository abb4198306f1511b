"""A Slurm cluster of several nodes on this machine, for tests and trials.

    python -m jobs.local.slurm start [ROOT] [--nodes N]      prints the variable to export
    python -m jobs.local.slurm stop [ROOT]

Any number can run side by side: ports are free ones and everything else lies in ROOT. Each node is a slurmd in a mount
namespace of its own, in which the nodes' names are known (`/etc/hosts`) and by which its processes are found. Nodes
have four CPUs and two GPUs that are no more than names. Partitions, all over the same nodes: `main`, whose jobs
those of `urgent` send back into the queue, and `cancelled`, whose jobs they end.

    ROOT/slurm.conf, gres.conf, hosts
    ROOT/munge, state, spool-NODE, *.log
    ROOT/cluster.json       process ids; written when all nodes are there

Needs root and Debian's packages slurm-wlm and munge. No accounting: `sacct` knows nothing.
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
from collections.abc import Callable
from pathlib import Path

import psutil

from cluster.errors import UserError
from cluster.free_port import free_port
from cluster.private_folder import private_folder
from cluster.programs import run_program

PACKAGES = ("slurm-wlm", "munge")
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "unshare")
START_TIMEOUT_S = 30.0

_CONFIGURATION = """\
ClusterName=gavt
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={root}/munge/socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool-%n
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd-%n.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,batch_sched_delay=1,bf_interval=1,requeue_delay=1
SchedulerType=sched/backfill
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
ReturnToService=2
KillWait=10
SlurmdTimeout=10
GresTypes=gpu
MailProg=/bin/true
MinJobAge=300
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=60 State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=10
PartitionName=cancelled Nodes=ALL MaxTime=60 State=UP PriorityTier=1 PreemptMode=CANCEL GraceTime=10
PartitionName=urgent Nodes=ALL MaxTime=60 State=UP PriorityTier=9 PreemptMode=OFF
"""


class SlurmClusterError(UserError):
    """The cluster can't be started."""


class SlurmCluster:
    """A running cluster.

    Attributes:
        nodes: names of its nodes.
    """

    def __init__(self, root: Path, nodes: int = 2) -> None:
        """Start it, and wait until all nodes are there.

        Raises:
            SlurmClusterError: it can't run here, or a daemon refuses.
        """
        if (reason := why_not()) is not None:
            raise SlurmClusterError(f"Slurm test cluster: {reason}")
        self.root, self.nodes = private_folder(root), tuple(f"node{number + 1}" for number in range(nodes))
        os.chmod(root, 0o755)  # its key is protected by itself
        self._daemons: dict[str, int] = {}
        self._spaces: dict[str, str] = {}
        self._write_files()
        try:
            munge = [f"--{name}-file={root}/munge/{name}" for name in ("key", "pid", "log", "seed")]
            self._start("munged", ["munged", "--force", "--foreground", f"--socket={root}/munge/socket", *munge])
            self._await(lambda: (root / "munge" / "socket").exists())
            self._start("slurmctld", ["slurmctld", "-D", "-f", f"{root}/slurm.conf"])
            for node in self.nodes:
                self.start_node(node)
            self._await(
                lambda: self.command("sinfo", "-h", "-t", "idle", "-p", "main", "-o", "%D").strip() == str(nodes)
            )
        except BaseException:
            self.stop()
            raise
        (root / "cluster.json").write_text(json.dumps(self._daemons), encoding="utf-8")

    def environment(self) -> dict[str, str]:
        """The variable by which Slurm's commands find it."""
        return {"SLURM_CONF": str(self.root / "slurm.conf")}

    def command(self, *words: str) -> str:
        """What one of Slurm's commands prints; empty where it fails."""
        done = run_program(words, environment=os.environ | self.environment())
        return done.stdout if done.returncode == 0 else ""

    def start_node(self, node: str) -> None:
        """Start a node's slurmd, the first time or again."""
        bound = (
            'mount --make-rprivate / && mount --bind "$1/hosts" /etc/hosts && exec slurmd -D -f "$1/slurm.conf" -N "$2"'
        )
        self._start(node, ["unshare", "--mount", "bash", "-c", bound, "bash", str(self.root), node])
        own = _space(os.getpid())
        self._await(lambda: _space(self._daemons[node]) not in ("", own))
        self._spaces[node] = _space(self._daemons[node])

    def kill_slurmd(self, node: str) -> None:
        """Kill a node's daemon (SIGKILL); what it has started goes on."""
        os.kill(self._daemons[node], signal.SIGKILL)

    def kill_node(self, node: str) -> None:
        """End a node with all that runs there, as the loss of a machine does; also what a killed slurmd has left."""
        _kill_namespace(self._spaces.pop(node))
        _reap(self._daemons.pop(node))

    def stop(self) -> None:
        """End everything."""
        for node in list(self._spaces):
            self.kill_node(node)
        _stop(self._daemons)

    def _write_files(self) -> None:
        root, ports = self.root, iter(sorted({free_port() for _ in range(3 * len(self.nodes) + 3)}))
        for name in ("munge", "state", *(f"spool-{node}" for node in self.nodes)):
            (root / name).mkdir(mode=0o755, exist_ok=True)
        key = os.open(root / "munge" / "key", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.write(key, secrets.token_bytes(1024))
        os.close(key)
        host, lines = socket.gethostname(), []
        for node in self.nodes:
            place = f"NodeHostname={host} NodeAddr=127.0.0.1 Port={next(ports)}"
            lines.append(f"NodeName={node} {place} CPUs=4 RealMemory=4000 Gres=gpu:2")
        configuration = _CONFIGURATION.format(host=host, port=next(ports), root=root, nodes="\n".join(lines))
        (root / "slurm.conf").write_text(configuration, encoding="utf-8")
        for number in range(2):  # devices that are there, and do nothing
            if not (root / f"gpu{number}").exists():
                os.mknod(root / f"gpu{number}", 0o666 | 0o020000, os.makedev(1, 3))
        gpus = f"NodeName={','.join(self.nodes)} Name=gpu File={root}/gpu[0-1]\n"
        (root / "gres.conf").write_text(gpus, encoding="utf-8")
        names = f"127.0.0.1 {' '.join(self.nodes)}\n"
        (root / "hosts").write_text(Path("/etc/hosts").read_text(encoding="utf-8") + names, encoding="utf-8")

    def _start(self, name: str, words: list[str]) -> None:
        environment = os.environ | self.environment() | {"PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
        with (self.root / f"{name}.out").open("ab") as log:
            process = subprocess.Popen(
                words, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._daemons[name] = process.pid

    def _await(self, condition: Callable[[], bool]) -> None:
        until = time.monotonic() + START_TIMEOUT_S
        while not condition():
            if time.monotonic() > until:
                said = "".join(
                    file.read_text(encoding="utf-8", errors="replace") for file in sorted(self.root.glob("*.out"))
                )
                raise SlurmClusterError(f"{self.root}: no answer after {START_TIMEOUT_S:.0f} s: {said[-400:]}")
            time.sleep(0.1)


def why_not() -> str | None:
    """Why no cluster can be started here, in one sentence; None if one can."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=f"{os.environ.get('PATH')}:/usr/sbin") is None]
    if missing:
        return f"no {missing[0]} on this machine: apt-get install --no-install-recommends {' '.join(PACKAGES)}"
    if os.geteuid() != 0:
        return "its daemons are started as root only, and this is not root"
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        return "no mount namespaces can be made here"
    return None


def _stop(daemons: dict[str, int]) -> None:
    """End daemons: the nodes with all that they started, then what they talk to."""
    for name in [name for name in daemons if name not in ("slurmctld", "munged")]:
        _kill_namespace(_space(daemons.pop(name)))
    for name in ("slurmctld", "munged"):
        if name in daemons:
            _end(daemons.pop(name))


def _kill_namespace(space: str) -> None:
    """Kill all processes of a mount namespace, unless it is that of everybody."""
    if space in ("", _space(os.getpid())):  # the daemon has ended, and another process may have its number
        return
    until = time.monotonic() + 10
    while time.monotonic() < until:
        there = [process.pid for process in psutil.process_iter() if _space(process.pid) == space]
        if not there:
            break
        for pid in there:
            _send(pid, signal.SIGKILL)
        time.sleep(0.05)


def _space(pid: int) -> str:
    """A process's mount namespace; empty where there is no such process."""
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt")
    except OSError:
        return ""


def _end(pid: int) -> None:
    _send(pid, signal.SIGTERM)
    until = time.monotonic() + 5
    while psutil.pid_exists(pid) and time.monotonic() < until:
        _reap(pid)
        time.sleep(0.05)
    _send(pid, signal.SIGKILL)
    _reap(pid)


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["start", "stop"])
    parser.add_argument("root", nargs="?", default=str(Path(tempfile.gettempdir()) / "gavt-slurm"), type=Path)
    parser.add_argument("--nodes", type=int, default=2)
    given = parser.parse_args()
    try:
        if given.action == "stop":
            _stop(json.loads((given.root / "cluster.json").read_text(encoding="utf-8")))
            shutil.rmtree(given.root)
            return
        cluster = SlurmCluster(given.root.absolute(), given.nodes)
    except FileNotFoundError:
        sys.stderr.write(f"{given.root}: no cluster was started there\n")
        raise SystemExit(2) from None
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from None
    sys.stdout.write("".join(f"export {name}={value}\n" for name, value in cluster.environment().items()))


if __name__ == "__main__":
    main()
