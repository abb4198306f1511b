"""A real S3 server on this machine, for tests and trials: Ceph's gateway over one monitor and one store in memory.

    python -m jobs.local.s3 start [ROOT] [--port N]     prints the variables to export
    python -m jobs.local.s3 stop [ROOT]
    python -m jobs.local.s3 away|back [ROOT]            it listens no more, and again; what it keeps stays

Any number can run side by side: ports are free ones and everything else lies in ROOT:

    ROOT/ceph.conf, keyring     configuration and keys, made new at every start
    ROOT/mon, osd, rgw          what the daemons keep (the objects themselves are in memory, at most 4 GiB)
    ROOT/run                    pid files, sockets, logs
    ROOT/server.json            endpoint and keys; written when the server answers

Needs root and Debian's packages radosgw, ceph-mon, ceph-osd, ceph-mgr.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

from cluster.errors import UserError
from cluster.private_folder import private_folder

PACKAGES = ("radosgw", "ceph-mon", "ceph-osd", "ceph-mgr")
"""Debian packages that it needs (ceph-mgr is not run; ceph-osd's tools want its modules)."""
PROGRAMS = ("radosgw", "radosgw-admin", "ceph-mon", "ceph-osd", "ceph", "monmaptool", "ceph-authtool")
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
# the gateway goes first: without its store it would wait for minutes instead of ending
STOP_ORDER = ("client.rgw", "osd.0", "mon.a")

_CONFIGURATION = """\
[global]
fsid = {cluster}
mon host = v2:127.0.0.1:{mon_port}
mon initial members = a
public network = 127.0.0.0/8
ms bind ipv6 = false
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
keyring = {root}/keyring
run dir = {root}/run
admin socket = {root}/run/$name.asok
pid file = {root}/run/$name.pid
log file = {root}/run/$name.log
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon warn on pool no redundancy = false
mon max pg per osd = 1000

[mon.a]
mon data = {root}/mon
mon addr = 127.0.0.1:{mon_port}
paxos propose interval = 0.05
paxos min wait = 0.02

[osd.0]
keyring = {root}/osd/keyring
osd data = {root}/osd
osd objectstore = memstore
memstore device bytes = 4294967296
osd class load list = *
osd class default list = *

[client.rgw]
rgw frontends = beast endpoint={listen}
rgw data = {root}/rgw
rgw run sync thread = false
"""


class S3ServerError(UserError):
    """The server can't be started or stopped."""


@dataclass(frozen=True)
class S3Server:
    """A running server: its folder, its endpoint and the keys of its one user."""

    root: str
    endpoint: str
    access_key: str
    secret_key: str

    def environment(self) -> dict[str, str]:
        """The usual variables, with which `cluster.storage` and every S3 client find it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
        }


def why_not() -> str | None:
    """Why no server can be started here, in one sentence; None if one can."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"no {missing[0]} on this machine: apt-get install --no-install-recommends {' '.join(PACKAGES)}"
    if os.geteuid() != 0:
        return "Ceph's daemons are started as root only, and this is not root"
    return None


def start(root: str | os.PathLike[str], port: int | None = None, host: str = "127.0.0.1") -> S3Server:
    """Start a server in the folder `root`, which is emptied first, and wait until it answers.

    Args:
        port: a free one by default.
        host: address of this machine at which it listens.

    Raises:
        S3ServerError: it can't run here, a server runs in `root` already, or a daemon refuses.
    """
    reason = why_not()
    if reason is not None:
        raise S3ServerError(f"S3 test server: {reason}")
    folder = Path(root).absolute()
    if _running(folder):
        raise S3ServerError(f"{folder}: a server runs here already; stop it first")
    if folder.exists() and any(folder.iterdir()) and not (folder / "ceph.conf").exists():
        raise S3ServerError(f"{folder}: expected an empty folder or an earlier server's, found other files")
    shutil.rmtree(folder, ignore_errors=True)
    private_folder(folder)  # its keys lie in it
    for name in ("mon", "osd", "rgw", "run"):
        (folder / name).mkdir(parents=True)
    port = port or _free_port()
    try:
        _start_daemons(folder, f"{host}:{port}", _free_port())
        server = S3Server(str(folder), f"http://{host}:{port}", "test", "testtest")
        _wait_for(server)
    except BaseException:
        stop(folder)
        raise
    (folder / "server.json").write_text(json.dumps(asdict(server)) + "\n", encoding="utf-8")
    return server


def stop(root: str | os.PathLike[str]) -> None:
    """Stop the server that runs in `root`, by the process ids that it wrote there; nothing happens if none does."""
    running = _running(Path(root).absolute())
    for name in STOP_ORDER:
        if name in running:
            _end(running[name])
    (Path(root) / "server.json").unlink(missing_ok=True)


def go_away(root: str | os.PathLike[str]) -> None:
    """Have the server that runs in `root` listen no more, as one that is restarted; what it keeps stays."""
    _end(_gateway(root))


def come_back(root: str | os.PathLike[str]) -> None:
    """Have a server that went away listen again, at the same address."""
    folder = Path(root).absolute()
    if not (folder / "server.json").exists():
        raise S3ServerError(f"{root}: expected a server that went away, found none")
    _call(folder / "ceph.conf", "radosgw", "-c", str(folder / "ceph.conf"), "-n", "client.rgw")
    _wait_for(S3Server(**json.loads((folder / "server.json").read_text(encoding="utf-8"))))


def listens(root: str | os.PathLike[str]) -> bool:
    """Whether a server runs in `root` and has not gone away."""
    return "client.rgw" in _running(Path(root).absolute())


def freeze(root: str | os.PathLike[str]) -> None:
    """Have the server that runs in `root` take requests and answer none."""
    os.kill(_gateway(root), signal.SIGSTOP)


def thaw(root: str | os.PathLike[str]) -> None:
    """Have a frozen server go on."""
    os.kill(_gateway(root), signal.SIGCONT)


def _gateway(root: str | os.PathLike[str]) -> int:
    try:
        return _running(Path(root).absolute())["client.rgw"]
    except KeyError:
        raise S3ServerError(f"{root}: expected a running server, found none") from None


def _start_daemons(folder: Path, listen: str, mon_port: int) -> None:
    cluster, osd, keyring = str(uuid.uuid4()), str(uuid.uuid4()), str(folder / "keyring")
    configuration = folder / "ceph.conf"
    configuration.write_text(
        _CONFIGURATION.format(cluster=cluster, root=folder, listen=listen, mon_port=mon_port), encoding="utf-8"
    )
    with_conf = ("-c", str(configuration))
    monmap, address = str(folder / "monmap"), f"[v2:127.0.0.1:{mon_port}]"

    def key(name: str, *capabilities: str) -> None:
        create = () if Path(keyring).exists() else ("--create-keyring",)
        _call(configuration, "ceph-authtool", *create, keyring, "--gen-key", "-n", name, *capabilities)

    _call(configuration, "monmaptool", "--create", "--fsid", cluster, "--addv", "a", address, monmap)
    key("mon.", "--cap", "mon", "allow *")
    key("client.admin", "--cap", "mon", "allow *", "--cap", "osd", "allow *", "--cap", "mgr", "allow *")
    key("client.rgw", "--cap", "mon", "allow rw", "--cap", "osd", "allow rwx")
    _call(configuration, "ceph-mon", *with_conf, "-i", "a", "--mkfs", "--monmap", monmap, "--keyring", keyring)
    _call(configuration, "ceph-mon", *with_conf, "-i", "a")
    may = ("mon", "allow profile osd", "osd", "allow *")
    _call(configuration, "ceph", *with_conf, "auth", "get-or-create", "osd.0", *may, "-o", str(folder / "osd/keyring"))
    _call(configuration, "ceph", *with_conf, "osd", "new", osd)
    _call(configuration, "ceph-osd", *with_conf, "-i", "0", "--mkfs", "--osd-uuid", osd)
    _call(configuration, "ceph-osd", *with_conf, "-i", "0")
    _call(configuration, "radosgw", *with_conf, "-n", "client.rgw")
    user = ("--uid=test", "--display-name=test", "--access-key=test", "--secret-key=testtest")
    _call(configuration, "radosgw-admin", *with_conf, "user", "create", *user)


def _call(configuration: Path, *words: str) -> None:
    environment = {**os.environ, "CEPH_CONF": str(configuration)}
    try:
        done = subprocess.run(
            words,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=START_TIMEOUT_S,
            encoding="utf-8",
        )
    except subprocess.TimeoutExpired:
        raise S3ServerError(
            f"{words[0]}: no end after {START_TIMEOUT_S:.0f} s; see {configuration.parent}/run"
        ) from None
    if done.returncode:
        said = " ".join(done.stderr.split()[-40:])
        raise S3ServerError(f"{words[0]}: expected exit code 0, found {done.returncode}: {said}")


def _wait_for(server: S3Server) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            urllib.request.urlopen(server.endpoint, timeout=5).close()
            return
        except urllib.error.HTTPError:
            return  # it answers, if only to say that nobody signed
        except OSError as error:
            if time.monotonic() > deadline:
                raise S3ServerError(f"{server.endpoint}: no answer after {START_TIMEOUT_S:.0f} s ({error})") from None
            time.sleep(0.05)


def _running(folder: Path) -> dict[str, int]:
    """Daemon → process id, of those that run in `folder`."""
    found = {}
    for name in STOP_ORDER:
        file = folder / "run" / f"{name}.pid"
        try:
            process = int(file.read_text(encoding="utf-8"))
            command = Path(f"/proc/{process}/cmdline").read_text(encoding="utf-8")
        except (OSError, ValueError):
            continue  # it never ran, or has ended
        if str(folder / "ceph.conf") in command:  # and not another process that got the number since
            found[name] = process
    return found


def _end(process: int) -> None:
    deadline = time.monotonic() + STOP_TIMEOUT_S
    sent = signal.SIGTERM
    try:
        os.kill(process, sent)
        while _alive(process):
            if sent == signal.SIGTERM and time.monotonic() > deadline:
                sent = signal.SIGKILL
                os.kill(process, sent)
            time.sleep(0.02)
    except ProcessLookupError:
        return


def _alive(process: int) -> bool:
    try:
        # a daemon's zombie is reaped by whatever adopted it, maybe late
        return ") Z " not in Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    except OSError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m jobs.local.s3", description="A real S3 server for tests.")
    parser.add_argument("action", choices=("start", "stop", "away", "back"))
    parser.add_argument("root", nargs="?", default=str(Path(tempfile.gettempdir()) / "gavt-s3"))
    parser.add_argument("--port", type=int, default=None, help="default: a free one")
    given = parser.parse_args()
    try:
        if given.action != "start":
            {"stop": stop, "away": go_away, "back": come_back}[given.action](given.root)
            return
        server = start(given.root, given.port)
    except S3ServerError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from None
    for name, value in server.environment().items():
        sys.stdout.write(f"export {name}={value}\n")


if __name__ == "__main__":
    main()
