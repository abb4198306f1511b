"""Trying again what failed in a way that may pass."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import aiohttp

from cluster.pace import Pace
from pipeline.errors import MediaError
from pipeline.prepare.fetch.addresses import TooFarInsideError
from pipeline.prepare.fetch.settings import FetchSettings
from pipeline.prepare.fetch.sources import host_of
from pipeline.reasons import Reason

T = TypeVar("T")
_LONGEST_PAUSE_S = 60.0


class PassingError(Exception):
    """An attempt failed in a way that may pass.

    Attributes:
        retry_after_s: the seconds after which the server wants to be asked again, where it said so.
        busy: the server has too much to do, so nobody else should ask it meanwhile.
    """

    def __init__(self, message: str, retry_after_s: float | None = None, busy: bool = False) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.busy = busy


class Patience:
    """What is left of the attempts and of the time that one video may take. Waiting for a turn costs nothing."""

    def __init__(self, settings: FetchSettings, pace: Pace) -> None:
        self._settings = settings
        self._pace = pace
        self._begun = time.monotonic()
        self._waited_s = 0.0

    @property
    def left_s(self) -> float:
        """Seconds left."""
        return self._settings.patience_s - (time.monotonic() - self._begun - self._waited_s)

    async def turn(self, url: str) -> None:
        """Wait until the URL's host may be asked."""
        host, rate = host_of(url), self._settings.per_host_rate_hz
        begun = time.monotonic()
        delay = await asyncio.to_thread(self._pace.reserve, host, rate)
        while delay > 0:
            await asyncio.sleep(delay)
            held = await asyncio.to_thread(self._pace.held, host)
            delay = await asyncio.to_thread(self._pace.reserve, host, rate) if held else 0
        self._waited_s += time.monotonic() - begun

    async def over(self, url: str, attempt: Callable[[], Awaitable[T]], gained: Callable[[], int]) -> T:
        """The result of `attempt`, which is tried again with growing, random pauses while its failures may pass.

        Args:
            url: what is asked for.
            gained: bytes that are there so far; an attempt that gained some does not count as one in vain.

        Raises:
            MediaError: `unreachable`, after all attempts; or what `attempt` raised.
        """
        attempts = vain = 0
        while True:
            before = gained()
            attempts += 1
            try:
                return await attempt()
            except PassingError as error:
                said, after, busy = str(error), error.retry_after_s, error.busy
            except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
                raise MediaError(Reason.MISSING, f"expected a URL, found {url!r} ({error})") from None
            except TooFarInsideError as error:
                raise MediaError(Reason.FORBIDDEN, str(error)) from None
            except aiohttp.ClientConnectorCertificateError as error:
                raise MediaError(Reason.UNREACHABLE, f"{host_of(url)}: its certificate is wrong: {error}") from None
            except (aiohttp.ClientError, asyncio.TimeoutError, ConnectionError) as error:
                if isinstance(too_far := getattr(error, "os_error", None), TooFarInsideError):
                    raise MediaError(Reason.FORBIDDEN, str(too_far)) from None
                said, after, busy = " ".join(str(error).split()) or "no answer in time", None, False
            vain = 0 if gained() > before else vain + 1
            pause = random.uniform(0.5, 1) * min(_LONGEST_PAUSE_S, 0.25 * 2**vain)
            if after is not None and after > self._settings.longest_wait_s:
                raise MediaError(
                    Reason.UNREACHABLE, f"{said}; the server wants to be asked again after {after:.0f} s only"
                )
            if vain >= self._settings.attempts or self.left_s < max(pause, after or 0):
                raise MediaError(Reason.UNREACHABLE, f"{said}; gave up after {_times(attempts)}")
            if after is not None or busy:
                await asyncio.to_thread(self._pace.hold, host_of(url), max(pause, after or 0))
            await asyncio.sleep(pause)


def _times(attempts: int) -> str:
    return "1 attempt" if attempts == 1 else f"{attempts} attempts"
