"""A pool of Ray workers: a function over many items, results as they come, lost workers replaced.

Ray is started here for the time of the pool, or an existing cluster is used.
"""

import logging
import os
import secrets
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import ray
import ray.exceptions
from ray._private import ray_constants

from cluster import storage
from cluster.cores import usable_cores
from cluster.errors import WorkerPoolError
from cluster.os_errors import why
from cluster.pace import Pace
from cluster.ray_pace import RayPace
from cluster.scratch import scratch_folder, temporary_place
from cluster.step import I, R, Step

_NODE_LOST = (ray.exceptions.NodeDiedError, ray.exceptions.LocalRayletDiedError, ray.exceptions.ObjectLostError)
_WORKER_LOST = (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError)
_OBJECT_STORE_BYTES = 80_000_000  # about the least that Ray accepts; items and results are small
_SIGNS_OF_LIFE_S = 1.0
_COUNT_EVERY_S = 5.0
_TASK_MEMORY_BYTES = 500_000_000  # reserved on a cluster for each task, which others' jobs share
_CONNECT_S = 10.0
_PREFIX = "gavt-ray-"
_TOKEN = secrets.token_hex(32)
"""Of the Ray that this process starts, which reads it once. Without one Ray leaves a token in ~/.ray, after which this
user's other clusters refuse each other."""
_ROOM_BYTES = 20_000_000  # its logs, for a start
_LONGEST_PLACE = 20  # bytes: with what Ray appends, a socket's path stays below the 107 bytes that a system allows


class RayPool:
    """Ray workers for the time of a `with` block.

    Args:
        address: an existing cluster (`host:port`, or `auto` on one of its nodes); None starts Ray on this machine.
        workers: how many tasks run at once, one CPU each; None takes all CPUs there are.

    Attributes:
        workers: how many tasks run at once now.

    Raises:
        WorkerPoolError: the cluster can't be reached, or Ray doesn't start.
    """

    def __init__(self, address: str | None = None, workers: int | None = None) -> None:
        self._address = address
        self._wanted = workers
        self._folder: Path | None = None
        self._credentials: dict[str, str] = {}
        self._cleanup = ExitStack()
        self._count_at = 0.0
        self._task_memory = None if address is None else _TASK_MEMORY_BYTES
        self.workers = 0

    @property
    def folder(self) -> Path | None:
        """Local folder that is removed with the pool, for the workers' scratch, which only this user may enter; None on
        another machine's cluster."""
        return self._folder

    def pace(self) -> Pace:
        """How often its workers together may ask a host."""
        return RayPace()

    def __enter__(self) -> "RayPool":
        try:
            if self._address is None:
                self._start_local()
            else:
                self._connect(self._address)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def map_unordered(
        self, function: Callable[[I], Iterator[R]], items: Iterable[I], attempts: int = 10
    ) -> Iterator[Step[I, R]]:
        """Run a generator function on every item; gives its values as they come, in no order between the items.

        No more tasks than workers, and one waiting, are handed out at a time, and `items` is read as they are, so that
        it may be endless. On a cluster the number of workers follows the nodes that join and leave. An item whose
        worker died is run again, up to `attempts` times, and as often as it takes where a whole node went, so the
        function must do no harm when it is repeated.

        Args:
            function: a module's generator function; the workers import it by name.
            items: what it is called with, one each.
            attempts: how many workers an item may cost before it is `lost`.

        Raises:
            Exception: whatever the function raised; the other tasks are ended.
        """
        how = {"max_retries": 0, "num_returns": "streaming", "num_cpus": 1, "memory": self._task_memory}
        task = ray.remote(**how)(_run).options(name=function.__name__)  # as Ray and `ps` call it
        source = iter(items)
        again: deque[tuple[I, int]] = deque()
        running: dict[Any, tuple[I, int]] = {}
        exhausted = False
        # where Ray itself holds tasks back, the next one waits with it, so that no worker waits for this process
        queued = 0 if self._address is not None and self._wanted is not None else 1
        try:
            while True:
                self._count_workers()
                while len(running) < self.workers + queued and (again or not exhausted):
                    if again:
                        item, attempt = again.popleft()
                    else:
                        try:
                            item, attempt = next(source), 1
                        except StopIteration:
                            exhausted = True
                            break
                    running[task.remote(function, self._credentials, item)] = (item, attempt)
                if not running:
                    return
                ready, _ = ray.wait(list(running), num_returns=1, timeout=_SIGNS_OF_LIFE_S)
                for stream in ready:
                    step: Step[I, R]
                    step, cost = self._next(stream, *running[stream], attempts)
                    if step.state != "value":
                        _, attempt = running.pop(stream)
                        if step.state == "restarted":
                            again.append((step.item, attempt + cost))
                    yield step
        finally:
            for stream in running:
                with suppress(ray.exceptions.RayError):
                    ray.cancel(stream, force=True)

    def _count_workers(self) -> None:
        """On a cluster: as many workers as it has CPUs now."""
        if self._address is None or self._wanted is not None or time.monotonic() < self._count_at:
            return
        self._count_at = time.monotonic() + _COUNT_EVERY_S
        self.workers = max(1, int(ray.cluster_resources().get("CPU", 1)))

    def _next(self, stream: Any, item: I, attempt: int, attempts: int) -> tuple[Step[I, R], int]:
        """The next step of a running item, and how many of its attempts it cost."""
        try:
            return Step(item, "value", ray.get(next(stream))), 0
        except StopIteration:
            return Step(item, "done"), 0
        except _NODE_LOST as error:  # preemption is nobody's fault
            return Step(item, "restarted", message=_first_line(error)), 0
        except _WORKER_LOST as error:
            return Step(item, "restarted" if attempt < attempts else "lost", message=_first_line(error)), 1
        except ray.exceptions.RayTaskError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, RuntimeError) and "failed to import on the worker" in str(cause):
                place = f"--ray-address {self._address}" if self._address else "Ray on this machine"
                raise WorkerPoolError(f"{place}: its workers can't import this program; install it on them") from error
            if isinstance(cause, Exception):
                raise cause from error
            raise

    def _start_local(self) -> None:
        self.workers = self._wanted or usable_cores()
        self._folder = self._cleanup.enter_context(scratch_folder("gavt-shards-"))
        # Ray lets everybody write to its folder, so it gets one in a folder that only this user may enter
        files = self._cleanup.enter_context(scratch_folder(_PREFIX, _place_of_sockets())) / "ray"
        try:
            with _for_this_user_alone():
                ray.init(
                    address="local",
                    num_cpus=self.workers,
                    num_gpus=0,
                    object_store_memory=_OBJECT_STORE_BYTES,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    _temp_dir=str(files),
                )
        except Exception as error:  # Ray raises that itself
            raise WorkerPoolError(f"Ray did not start on this machine: {' '.join(str(error).split())}") from error

    def _connect(self, address: str) -> None:
        _check_reachable(address)
        # not by Ray's runtime environment, which stands in log files that everybody on a node may read
        self._credentials = {
            name: value for name, value in os.environ.items() if name.startswith(storage.ACCOUNT_VARIABLES)
        }
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (RuntimeError, OSError, ValueError, ray.exceptions.RayError) as error:
            text = " ".join(str(error).split())
            raise WorkerPoolError(
                f"--ray-address {address}: expected a running Ray cluster that takes this command's token, if it asks "
                f"for one (RAY_AUTH_MODE, RAY_AUTH_TOKEN_PATH), found none: {text}"
            ) from error
        self.workers = self._wanted or int(ray.cluster_resources().get("CPU", 1))

    def _stop(self) -> None:
        ray.shutdown()
        self._folder = None
        self._cleanup.close()


def _run(function: Callable[[I], Iterator[R]], credentials: dict[str, str], item: I) -> Iterator[R]:
    """What a worker does with an item, in an environment with these variables."""
    os.environ.update(credentials)
    yield from function(item)


def _place_of_sockets(usual: Path = Path("/tmp")) -> Path:
    """Where Ray's files lie, sockets among them, whose path has to be short: the usual place, or the place of temporary
    files where that one can't be used and this one's name is short enough.

    Raises:
        WorkerPoolError: there is no room for them; Ray would wait for a minute, and not say why.
    """
    own = temporary_place()
    places = [usual, own] if len(os.fsencode(own)) <= _LONGEST_PLACE else [usual]
    problems = {place: _why_unusable(place) for place in places}
    usable = [place for place in places if problems[place] is None]
    if usable:
        return usable[0]
    raise WorkerPoolError(
        f"{usual}: expected a folder with {_ROOM_BYTES / 1e6:.0f} MB of room for Ray's files, found {problems[usual]}; "
        f"make room, name another folder of at most {_LONGEST_PLACE} letters by TMPDIR, or work without Ray (--local)"
    )


def _why_unusable(place: Path) -> str | None:
    try:
        disk = os.statvfs(place)
    except OSError as error:
        return why(error)
    if not os.access(place, os.W_OK | os.X_OK):
        return "one that this user may not write to"
    free = disk.f_bavail * disk.f_frsize
    return None if free >= _ROOM_BYTES else f"{free / 1e6:.1f} MB free"


@contextmanager
def _for_this_user_alone() -> Iterator[None]:
    """Have a Ray that is started in the block refuse whoever has no token, and listen on loopback addresses only.

    Ray takes an address of the network even where it is told to take 127.0.0.1, unless it believes that this system's
    clusters have one node, as on macOS.
    """
    several, ray_constants.ENABLE_RAY_CLUSTER = ray_constants.ENABLE_RAY_CLUSTER, False
    before = dict(os.environ)
    os.environ.pop("RAY_AUTH_MODE", None)  # Ray itself then sets it, here and in what it has read of it
    os.environ.pop("RAY_AUTH_TOKEN_PATH", None)
    os.environ.update(
        RAY_AUTH_TOKEN=_TOKEN,
        RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0",
        RAY_USAGE_STATS_ENABLED=before.get("RAY_USAGE_STATS_ENABLED", "0"),
        RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO=before.get("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0"),
    )
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = several
        for name in [name for name in os.environ if name.startswith("RAY_")]:
            del os.environ[name]
        os.environ.update((name, value) for name, value in before.items() if name.startswith("RAY_"))


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split("\n")[0].split()) or type(error).__name__


def _check_reachable(address: str) -> None:
    """Ask whether anybody answers at `host:port`; Ray itself keeps trying for minutes, then ends the program."""
    if address == "auto":
        return
    host, colon, port = address.rpartition(":")
    if not colon or "/" in address or not port.isdigit():
        raise WorkerPoolError(f"--ray-address: expected host:port of a cluster's head node, or auto, found {address!r}")
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()
    except OSError as error:
        found = f"expected a running Ray cluster, found none ({why(error)})"
        raise WorkerPoolError(f"--ray-address {address}: {found}") from None
