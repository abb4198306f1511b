"""How often a host may be asked by all workers of a Ray cluster together."""

import logging
from typing import Any

import ray
import ray.exceptions

from cluster.pace import LocalPace, Pace

_ANSWER_S = 20.0
_log = logging.getLogger(__name__)


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
