"""One writer at a time: a small file beside the work says who holds it, and is renewed while its holder lives.

No clocks are compared: a holder is alive as long as its file keeps changing while somebody watches.
"""

import json
import os
import secrets
import socket
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Any

import psutil

from cluster import storage
from cluster.boot import UNKNOWN, boot_id
from cluster.errors import LeaseError, MissingFileError, StorageError
from cluster.json_text import parse_json

RENEW_S = 5.0
"""How often a holder renews its file."""
_PATIENCE_S = 3 * RENEW_S
_SETTLE_S = 1.0


class Lease:
    """The right to write somewhere, for the time of a `with` block; it goes with the process that holds it.

    What a killed process left is taken over: at once on the same machine, where nobody has that process any more, else
    after the file was watched for 15 s without a change. Two containers of one machine are two machines in this: each
    counts its processes anew, and has the other's numbers for others.

    Args:
        url: the file, local or on object storage.
        what: what it is the right to, for messages: `gavt prepare`.

    Raises:
        LeaseError: somebody else holds it.
        StorageError: the file can't be written.
    """

    def __init__(self, url: str, what: str) -> None:
        self._url = url
        self._what = what
        self._token = secrets.token_hex(8)
        self._beats = 0
        self._lost: str | None = None
        self._ended = threading.Event()
        self._renewing = threading.Thread(target=self._renew, name="gavt-lease", daemon=True)

    def __enter__(self) -> "Lease":
        if not storage.create(self._url, self._content()):
            holder = self._holder()
            if holder is None:  # gone, or made a moment ago and still empty (`storage.create`)
                time.sleep(_SETTLE_S)
                holder = self._holder()
            if holder is not None and not _is_dead_here(holder):
                self._watch(holder)
            storage.write_bytes(self._url, self._content())
            time.sleep(_SETTLE_S)  # of two that take over at once, the one who wrote last has it
            holder = self._holder()
            if holder is not None and holder.get("token") != self._token:
                raise self._held(holder)
        self._renewing.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._renewing.join()
        holder = self._holder()
        if holder is not None and holder.get("token") == self._token:
            storage.remove(self._url)

    def check(self) -> None:
        """Say so when somebody else took it, as happens to a process that stood still for long.

        Raises:
            LeaseError: it is lost; whatever it was the right to must not be written any more.
        """
        if self._lost is not None:
            raise LeaseError(self._lost)

    def _renew(self) -> None:
        while not self._ended.wait(RENEW_S):
            try:
                holder = self._holder()
                if holder is not None and holder.get("token") != self._token:
                    self._lost = f"{self._url}: {self._what} goes on elsewhere ({_name(holder)}), and stops here"
                    return
                self._beats += 1
                storage.write_bytes(self._url, self._content(), durable=False)
            except StorageError:
                continue  # the storage's own patience is over; the work finds out by itself if this lasts

    def _holder(self) -> dict[str, Any] | None:
        """What the file says; None where there is none, or one that was never written whole."""
        try:
            holder = parse_json(storage.read_bytes(self._url))
        except (MissingFileError, ValueError):
            return None
        return holder if isinstance(holder, dict) else None

    def _watch(self, holder: dict[str, Any]) -> None:
        """Return when nobody renews the file."""
        until = time.monotonic() + _PATIENCE_S
        while time.monotonic() < until:
            time.sleep(RENEW_S / 5)
            now = self._holder()
            if now is None:
                return
            if now != holder:
                raise self._held(now)

    def _held(self, holder: dict[str, Any]) -> LeaseError:
        return LeaseError(
            f"{self._url.rsplit('/', 1)[0]}: another {self._what} works on it ({_name(holder)}); "
            "wait for it, or stop it first"
        )

    def _content(self) -> bytes:
        return json.dumps({"token": self._token, **_this_process(), "beats": self._beats}).encode()


def _name(holder: dict[str, Any]) -> str:
    return f"process {holder.get('pid')} on {holder.get('host')}"


def _this_process() -> dict[str, Any]:
    """What tells this process from all others; `processes` says among which ones its number counts, None where nobody
    knows: such a holder is alive as long as its file changes."""
    found: dict[str, Any] = {"host": socket.gethostname(), "pid": os.getpid(), "processes": None}
    with suppress(OSError, psutil.Error):
        # else /proc shows the processes of another container, or nobody can tell machines of one name apart
        if os.readlink("/proc/self") == str(os.getpid()) and boot_id() != UNKNOWN:
            found["processes"] = f"{boot_id()} {os.stat('/proc/self/ns/pid').st_ino}"
            found["process_started"] = psutil.Process().create_time()
    return found


def _is_dead_here(holder: dict[str, Any]) -> bool:
    """Whether the holder was one of the processes that this one sees, and is no more."""
    here = _this_process()
    if here["processes"] is None or any(holder.get(name) != here[name] for name in ("host", "processes")):
        return False
    try:
        process = psutil.Process(int(holder["pid"]))
        alive = process.status() != psutil.STATUS_ZOMBIE
        return not (alive and abs(process.create_time() - float(holder["process_started"])) < 1)
    except psutil.NoSuchProcess:
        return True
    except (OSError, KeyError, TypeError, ValueError, psutil.AccessDenied):
        return False
