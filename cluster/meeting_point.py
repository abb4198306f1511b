"""Where the processes of a job meet: torch's store, which the main process keeps and the others connect to."""

import errno
import os
import socket
import time
from datetime import timedelta
from ipaddress import ip_address

from torch._C._distributed_c10d import PrefixStore, Store, TCPStore
from torch.distributed import DistError

from cluster.beside import beside
from cluster.errors import LaunchError
from cluster.job_environment import JobEnvironment

_ANSWER_S = 60.0
"""In which what listens must answer as a store; the main process opens its port only when it keeps one."""
_TRY_EVERY_S = 0.2
_SILENT_S = 0.2
_GREETING = b"\0" + (0x3C85F7CE).to_bytes(4, "little")
"""With which a client of torch's store begins (TCPStore.cpp)."""


def meet(job: JobEnvironment, timeout_s: float) -> Store:
    """The store of a job that a launcher has started.

    A job of this machine alone (its address is the loopback one) is not heard by others: neither its store nor the
    connections between its processes.

    Raises:
        LaunchError: somebody else has the main process's port, or nobody after `timeout_s`.
    """
    assert job.main is not None
    host, port = job.main.host, job.main.port
    if _is_loopback(host):
        for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
            os.environ.setdefault(name, _loopback_interface())
    # torchrun keeps the store itself, the same for all attempts
    keeps = job.is_main and not job.launcher_keeps_store
    fd = _listen(host, port).detach() if keeps else None
    if not keeps:
        _await_listener(host, port, timeout_s)
    try:
        # a client of torch's waits for ever where nothing answers
        store = beside(lambda: _store(host, port, job.world_size, keeps, fd)).result(_ANSWER_S)
    except (TimeoutError, DistError) as error:
        raise _stranger(host, port, str(error).partition("\n")[0] or "no answer") from None
    store.set_timeout(timedelta(seconds=timeout_s))
    return PrefixStore(f"attempt {job.attempt}", store) if job.launcher_keeps_store else store


def _store(host: str, port: int, world_size: int, keeps: bool, fd: int | None) -> Store:
    return TCPStore(
        host,
        port,
        world_size,
        is_master=keeps,
        timeout=timedelta(seconds=_ANSWER_S),
        wait_for_workers=False,
        master_listen_fd=fd,
    )


def _stranger(host: str, port: int, why: str) -> LaunchError:
    return LaunchError(
        f"MASTER_PORT: expected the job's main process at {host}:{port}, found something else that listens: {why}"
    )


def _listen(host: str, port: int) -> socket.socket:
    """Take the port: on the loopback interface where the job is this machine's alone, else on all."""
    try:
        if _is_loopback(host):
            return socket.create_server(
                (host, port), family=socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0], backlog=2048
            )
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=2048)
        return socket.create_server(("", port), backlog=2048)
    except OSError as error:
        taken = "is in use" if error.errno == errno.EADDRINUSE else f"can't be listened on: {error.strerror}"
        raise LaunchError(f"MASTER_PORT: expected a free port of this machine, found {port}, which {taken}") from None


def _await_listener(host: str, port: int, timeout_s: float) -> None:
    """Wait until the main process listens, which may start much later.

    Raises:
        LaunchError: nobody does for so long, or who does is no store: those take a greeting without a word.
    """
    end = time.monotonic() + timeout_s
    while True:
        try:
            connection = socket.create_connection((host, port), timeout=5)
            break
        except OSError as error:
            if time.monotonic() > end:
                raise LaunchError(
                    f"MASTER_ADDR: expected the job's main process at {host}:{port}, "
                    f"found nobody in {timeout_s:.0f} s: {error.strerror or error}"
                ) from None
        time.sleep(_TRY_EVERY_S)
    with connection:
        connection.settimeout(_SILENT_S)
        try:
            connection.sendall(_GREETING)
            said = connection.recv(80)
        except TimeoutError:
            return
        except ConnectionError:
            said = b""
    raise _stranger(host, port, f"it says {said!r}" if said else "it closes connections")


def _is_loopback(host: str) -> bool:
    """Whether it says so: a name that this machine alone knows for itself is no sign of a job without others."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _loopback_interface() -> str:
    return next((name for _, name in socket.if_nameindex() if name.startswith("lo")), "lo")
