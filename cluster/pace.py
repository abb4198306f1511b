"""How often a host may be asked."""

import threading
import time
from abc import ABC, abstractmethod


class Pace(ABC):
    """Turns at a host. It can be pickled into the tasks of workers."""

    @abstractmethod
    def reserve(self, host: str, rate_hz: float | None = None) -> float:
        """Take the next turn at `host`; gives the seconds until then, 0 for now.

        Who had to wait asks `held` when the time has come, and takes another turn if that says so.

        Args:
            rate_hz: most turns a second; None is as many as are asked for.
        """

    @abstractmethod
    def hold(self, host: str, seconds: float) -> None:
        """Nobody asks `host` for so many seconds: it said that it has enough."""

    @abstractmethod
    def held(self, host: str) -> bool:
        """Whether `host` is on hold."""


class LocalPace(Pace):
    """The pace of one process; pickled, it starts anew in the other one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next: dict[str, float] = {}
        self._held_until: dict[str, float] = {}

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return (LocalPace, ())

    def reserve(self, host: str, rate_hz: float | None = None) -> float:
        """See `Pace.reserve`."""
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next.get(host, now), self._held_until.get(host, now))
            if rate_hz is not None:
                self._next[host] = turn + 1 / rate_hz
            return turn - now

    def hold(self, host: str, seconds: float) -> None:
        """See `Pace.hold`."""
        with self._lock:
            self._held_until[host] = max(self._held_until.get(host, 0.0), time.monotonic() + seconds)

    def held(self, host: str) -> bool:
        """See `Pace.held`."""
        with self._lock:
            return time.monotonic() < self._held_until.get(host, 0.0)
