"""How often a host may be asked: by one process, or by all workers of a Ray cluster together."""

import logging
import threading
import time
from abc import ABC, abstractmethod
from typing import Any

import ray
import ray.exceptions

_ANSWER_S = 20.0
_log = logging.getLogger(__name__)


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


class RayPace(Pace):
    """One pace for all workers of a Ray cluster, kept by an actor on the actor's clock.

    The actor lives as long as somebody has this object. If it is lost for good, each process goes on at a pace of its
    own and says so.

    Args:
        keeper: the actor; None starts one.
    """

    def __init__(self, keeper: Any = None) -> None:
        # the actor comes back, without memory, where its node dies; it takes no CPU away from the work
        self._keeper = keeper or ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=2)(LocalPace).remote()
        self._alone: LocalPace | None = None

    def __reduce__(self) -> tuple[type, tuple[Any]]:
        return (RayPace, (self._keeper,))

    def reserve(self, host: str, rate_hz: float | None = None) -> float:
        """See `Pace.reserve`."""
        return float(self._ask("reserve", host, rate_hz))

    def hold(self, host: str, seconds: float) -> None:
        """See `Pace.hold`."""
        self._ask("hold", host, seconds)

    def held(self, host: str) -> bool:
        """See `Pace.held`."""
        return bool(self._ask("held", host))

    def _ask(self, action: str, *arguments: Any) -> Any:
        if self._alone is None:
            try:
                return ray.get(getattr(self._keeper, action).remote(*arguments), timeout=_ANSWER_S)
            except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError) as error:
                said = " ".join(str(error).split("\n")[0].split())
                _log.warning("the pace of all workers is lost (%s); this process goes on at its own", said)
                self._alone = LocalPace()
        return getattr(self._alone, action)(*arguments)
