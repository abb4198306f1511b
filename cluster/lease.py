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
from dataclasses import asdict
from datetime import datetime, timezone
from types import TracebackType
from typing import Any

import psutil

from cluster import storage
from cluster.boot import UNKNOWN, boot_id
from cluster.errors import InUseError, MissingFileError, StorageError
from cluster.job_environment import JobAttempt
from cluster.json_text import parse_json
from cluster.storage import FileVersion

RENEW_S = 5.0
"""How often a holder renews its file."""
_PATIENCE_S = 3 * RENEW_S
_SETTLE_S = 1.0
_ANSWER_S = 5.0
_RELEASE_S = 10.0
"""What the end waits for a storage that does not answer; what is not released runs out."""


class Lease:
    """The right to write somewhere, for the time of a `with` block; it goes with the process that holds it.

    What a killed process left is taken over: at once on the same machine, where nobody has that process any more, or by
    a later attempt of the same job; else after the file was watched for 15 s without a change, not counting while the
    storage is away. Two containers of one machine are two machines in this: each counts its processes anew, and has the
    other's numbers for others.

    Args:
        url: the file, local or on object storage.
        what: what it is the right to, for messages: `gavt prepare`.
        attempt: of which job the holder is, and which attempt of it.

    Raises:
        InUseError: somebody else holds it.
        StorageError: the file can't be written.
    """

    def __init__(self, url: str, what: str, attempt: JobAttempt | None = None) -> None:
        self._url = url
        self._what = what
        self._attempt = attempt
        self._token = secrets.token_hex(8)
        self._since = f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M:%S} UTC"
        self._beats = 0
        self._lost: str | None = None
        self._ended = threading.Event()
        self._renewing = threading.Thread(target=self._renew, name="gavt-lease", daemon=True)

    def __enter__(self) -> "Lease":
        if not storage.create(self._url, self._content()):
            self._take_over()
        self._renewing.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._renewing.join(_RELEASE_S)
        if self._renewing.is_alive() or isinstance(error, StorageError):  # a storage that is away
            return
        _, holder = self._look()
        if holder.get("token") == self._token:
            storage.remove(self._url)

    @property
    def is_lost(self) -> bool:
        """Whether somebody else took it, as far as was seen when it was last renewed."""
        return self._lost is not None

    def check(self) -> None:
        """Say so when somebody else took it, as happens to a process that stood still for long.

        Raises:
            InUseError: it is lost; whatever it was the right to must not be written any more.
        """
        if self._lost is not None:
            raise InUseError(self._lost)

    def confirm(self) -> None:
        """As `check`, after a look at the file: for before what must not be written by two.

        Raises:
            StorageError: it can't be read.
        """
        self._note_loss(self._look()[1])
        self.check()

    def check_free(self) -> None:
        """Raise an InUseError where somebody holds it; this one does not take it."""
        version, holder = self._look()
        if version is not None and holder and not self._may_follow(holder):
            self._watch(version, holder)

    def _take_over(self) -> None:
        version, holder = self._look()
        if version is not None and not holder:  # made a moment ago and still empty (`storage.create`)
            time.sleep(_SETTLE_S)
            version, holder = self._look()
        if version is not None and holder and not self._may_follow(holder):
            version = self._watch(version, holder)
        if version is None:
            written = storage.create(self._url, self._content())
        else:
            written = storage.replace(self._url, self._content(), version)
        if not written:  # another was quicker
            raise self._held(self._look()[1])
        # where storage can't compare and write in one, of two that take over at once the one who wrote last has it
        time.sleep(_SETTLE_S)
        _, holder = self._look()
        if holder and holder.get("token") != self._token:
            raise self._held(holder)

    def _renew(self) -> None:
        while not self._ended.wait(RENEW_S):
            try:
                version, holder = self._look()
                self._note_loss(holder)
                if self._lost is not None:
                    return
                self._beats += 1
                if version is None:  # somebody has removed it
                    storage.create(self._url, self._content())
                else:
                    storage.replace(self._url, self._content(), version)
            except StorageError:
                continue  # the storage's own patience is over; the work finds out by itself if this lasts

    def _note_loss(self, holder: dict[str, Any]) -> None:
        if holder and holder.get("token") != self._token:
            self._lost = f"{self._place}: {self._what} goes on elsewhere ({_name(holder)}), and stops here"

    def _look(self) -> tuple[FileVersion | None, dict[str, Any]]:
        """The version of the file, None where there is none, and what it says; nothing where it was never whole."""
        try:
            # in this order: who writes in place of the version knows what it said
            version = storage.version(self._url)
            holder = parse_json(storage.read_bytes(self._url))
        except MissingFileError:
            return None, {}
        except ValueError:
            return version, {}
        return version, holder if isinstance(holder, dict) else {}

    def _watch(self, version: FileVersion, holder: dict[str, Any]) -> FileVersion | None:
        """Wait until it is certain that nobody renews the file; its version then, None where it is gone.

        Raises:
            InUseError: somebody does.
        """
        quiet_s = 0.0
        while quiet_s < _PATIENCE_S:
            time.sleep(RENEW_S / 5)
            asked = time.monotonic()
            found, said = self._look()
            if found is None:
                return None
            if said != holder:
                raise self._held(said)
            version = found
            # a storage that was away was so for its holder too
            quiet_s = quiet_s + RENEW_S / 5 if time.monotonic() < asked + _ANSWER_S else 0.0
        return version

    def _may_follow(self, holder: dict[str, Any]) -> bool:
        """Whether the holder is certain to be no more."""
        if _is_dead_here(holder):
            return True
        mine, theirs = self._attempt, holder.get("attempt")
        return (
            mine is not None
            and isinstance(theirs, dict)
            and theirs.get("job") == mine.job
            and isinstance(number := theirs.get("number"), int)
            and number < mine.number
        )

    @property
    def _place(self) -> str:
        return self._url.rsplit("/", 1)[0]

    def _held(self, holder: dict[str, Any]) -> InUseError:
        return InUseError(
            f"{self._place}: another {self._what} works on it ({_name(holder)}); wait for it, or stop it first"
        )

    def _content(self) -> bytes:
        said = {"token": self._token, **_this_process(), "since": self._since, "beats": self._beats}
        if self._attempt is not None:
            said["attempt"] = asdict(self._attempt)
        return json.dumps(said).encode()


def _name(holder: dict[str, Any]) -> str:
    return f"process {holder.get('pid')} on {holder.get('host')} since {holder.get('since')}"


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
