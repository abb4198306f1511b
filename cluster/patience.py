"""Requests to object storage: again while they fail in ways that pass, and not of all machines at the same moment."""

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from cluster.errors import GaveUpError, StorageError

T = TypeVar("T")

PATIENCE = "GAVT_STORAGE_PATIENCE_S"
"""Variable: for how long (s) a request is tried again while it fails in ways that pass; 180 where it is not set."""
_PATIENCE_S = 180.0
_UNREACHABLE_S = 20.0  # a server that never answered is more likely a wrong address than a server that restarts
_ATTEMPT_S = 45.0
_SLOWEST_BYTES_S = 256_000
_LONGEST_PAUSE_S = 8.0
_NEWS = 64 << 10  # bytes after which a broken answer counts as progress
_MACHINES_A_SECOND = 100


def wait_for_turn(machines: int) -> None:
    """Wait for a moment of one's own before a first request that all of so many machines make at the same time."""
    if machines > 1:
        time.sleep(random.uniform(0, machines / _MACHINES_A_SECOND))


def pause_s(failures: int) -> float:
    """How long (s) to wait after so many failures in a row: growing, and random, lest many ask again at once."""
    return random.uniform(0.3, 1) * min(_LONGEST_PAUSE_S, 0.1 * 2.0 ** min(failures, 7))


def patience_s() -> float:
    """For how long a request is tried, from the variable `GAVT_STORAGE_PATIENCE_S`.

    Raises:
        StorageError: it is set to something else than a number of seconds.
    """
    text = os.environ.get(PATIENCE)
    if text is None:
        return _PATIENCE_S
    try:
        seconds = float(text)
        if not 0 <= seconds < float("inf"):
            raise ValueError
    except ValueError:
        raise StorageError(f"{PATIENCE}: expected a number of seconds, found {text!r}") from None
    return seconds


@dataclass(frozen=True)
class Failures:
    """What the failures of one client library mean.

    Attributes:
        is_transient: whether the same request may succeed later.
        is_answer: whether the server said it: somebody is there.
        is_unreachable: whether nobody could be connected to.
    """

    is_transient: Callable[[BaseException], bool]
    is_answer: Callable[[BaseException], bool]
    is_unreachable: Callable[[BaseException], bool]


class PatientRequests:
    """The requests of one client, each tried again with growing, random pauses.

    Attributes:
        answered: whether the server has ever said anything.
    """

    def __init__(self, failures: Failures) -> None:
        self._failures = failures
        self.answered = False

    async def make(
        self,
        request: Callable[[], Awaitable[T]],
        patience: float,
        size: int,
        came: Callable[[], int] = lambda: 0,
    ) -> T:
        """Make a request until it succeeds; patience begins anew with progress, as `came` counts it (bytes).

        Args:
            request: begins it; called for every attempt.
            patience: for how long (s).
            size: bytes that go over the wire; a large one may take longer.
            came: bytes that came so far, of all attempts.

        Raises:
            GaveUpError: it failed until patience ended.
        """
        begun = time.monotonic()
        attempts = failures = known = 0
        while True:
            attempts += 1
            failures += 1
            left = patience - (time.monotonic() - begun)
            limit = max(1.0, min(left, _ATTEMPT_S + size / _SLOWEST_BYTES_S))
            try:
                result = await asyncio.wait_for(request(), limit)
            except Exception as error:
                self.answered |= self._failures.is_answer(error)
                if not self._failures.is_transient(error):
                    raise
                if came() - known >= _NEWS:
                    begun, failures, known = time.monotonic(), 0, came()
                    continue
                spent = time.monotonic() - begun
                unreachable = self._failures.is_unreachable(error) and not self.answered
                pause = pause_s(failures)
                if spent + pause > (min(patience, _UNREACHABLE_S) if unreachable else patience):
                    said = " ".join(str(error).split()) or f"no whole answer within {limit:.0f} s"
                    times = "1 attempt" if attempts == 1 else f"{attempts} attempts"
                    raise GaveUpError(f"{said}; gave up after {times} in {spent:.0f} s") from error
                await asyncio.sleep(pause)
            else:
                self.answered = True
                return result
