"""Requests over HTTP: one session with its cookies, turns per host, redirects, and what answers mean."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from http.cookiejar import LoadError, MozillaCookieJar
from http.cookies import CookieError, Morsel
from importlib.metadata import version
from types import TracebackType
from urllib.parse import urljoin
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from cluster.pace import Pace
from pipeline.errors import MediaError, SettingsError
from pipeline.prepare.fetch.addresses import Inside, TooFarInsideError, inside_of, inside_of_host, too_far_inside
from pipeline.prepare.fetch.bounded_resolver import BoundedResolver
from pipeline.prepare.fetch.patience import PassingError, Patience
from pipeline.prepare.fetch.settings import FetchSettings
from pipeline.prepare.fetch.sources import host_of
from pipeline.reasons import Reason

_CONNECT_S = 20.0
_MOST_REDIRECTS = 10
_REDIRECTS = {301, 302, 303, 307, 308}
_GONE = {404, 410}
_PASSING = {408, 425, 429}
_NO_SUCH_RANGE = 416
_BUSY = {429, 503}
_SECONDS = re.compile(r" *[0-9]{1,9} *")


class NoSuchRangeError(PassingError):
    """The file ends before the range that was asked for."""


class WebClient:
    """Asks servers over HTTP; use it with `async with`.

    Raises:
        SettingsError: the file of cookies can't be read.
    """

    def __init__(self, settings: FetchSettings, pace: Pace) -> None:
        self.settings = settings
        self.pace = pace
        self._cookies = None if settings.cookies is None else _read_cookies(settings.cookies)
        self._jar: aiohttp.CookieJar | None = None
        self._sessions: dict[Inside, aiohttp.ClientSession] = {}

    async def __aenter__(self) -> "WebClient":
        # hosts that are bare addresses count as well; values are sent as they stand in the file
        self._jar = aiohttp.CookieJar(unsafe=True, quote_cookie=False)
        if self._cookies is not None:
            self._jar.update_cookies(self._cookies, URL())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for session in self._sessions.values():
            await session.close()

    def patience(self) -> Patience:
        """The patience for one video."""
        return Patience(self.settings, self.pace)

    @asynccontextmanager
    async def ask(
        self, url: str, patience: Patience, headers: Mapping[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A good answer (2xx) to a GET of `url`, redirects followed.

        Raises:
            MediaError: `missing` or `forbidden`, as the server says; it redirects further inside than it lies itself.
            PassingError: another time, perhaps.
            NoSuchRangeError: the file is shorter than was thought.
        """
        most: Inside | None = None
        for _ in range(_MOST_REDIRECTS):
            target = _as_written(url)
            session = self._session(target, most)
            await patience.turn(url)
            limits = self._limits(patience)
            async with session.get(target, headers=headers, allow_redirects=False, timeout=limits) as answer:
                if answer.status not in _REDIRECTS or "Location" not in answer.headers:
                    _check(answer)
                    yield answer
                    return
                url = _redirected(url, answer.headers["Location"])
            if most is None:
                most = Inside.LOOPBACK if self.settings.internal_redirects else await inside_of(target.host or "")
        raise MediaError(Reason.UNREACHABLE, f"more than {_MOST_REDIRECTS} redirects, the last to {url}")

    def _limits(self, patience: Patience) -> aiohttp.ClientTimeout:
        """How long an answer may take: a second between any two bytes of its headers would never end."""
        stall = self.settings.stall_s
        return aiohttp.ClientTimeout(
            total=max(0.0, patience.left_s) + 1, sock_connect=min(stall, _CONNECT_S), sock_read=stall
        )

    def _session(self, target: URL, most: Inside | None) -> aiohttp.ClientSession:
        """The session for a request whose connection may go so far inside; None is as far as the list says."""
        most = Inside.LOOPBACK if most is None else most
        written = inside_of_host(target.host or "")
        if written is not None and written > most:
            raise TooFarInsideError(too_far_inside(target.host or ""))
        if _is_proxied(target):  # then a connection is made to the proxy, which lies where it lies
            most = Inside.LOOPBACK
        if most not in self._sessions:
            self._sessions[most] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(resolver=BoundedResolver(most)),
                headers={
                    "User-Agent": self.settings.user_agent or f"gavt/{version('gavt')}",
                    "Accept-Encoding": "identity",  # a range of a packed answer would be a range of the packed bytes
                },
                cookie_jar=self._jar,
                auto_decompress=False,
                trust_env=True,
            )
        return self._sessions[most]


def _redirected(url: str, location: str) -> str:
    try:
        found = urljoin(url, location)
    except ValueError as error:
        raise MediaError(Reason.MISSING, f"it is redirected to {location!r}, which is no URL ({error})") from None
    if not found.startswith(("http://", "https://")):
        raise MediaError(Reason.MISSING, f"it is redirected to {found}, which is not on the web")
    return found


def _is_proxied(target: URL) -> bool:
    return target.scheme in getproxies() and not proxy_bypass(target.host or "")


def _check(answer: aiohttp.ClientResponse) -> None:
    if 200 <= answer.status < 300:
        return
    said = f"{host_of(str(answer.url))} answered {answer.status} {answer.reason or ''}".rstrip()
    if answer.status in _GONE:
        raise MediaError(Reason.MISSING, said)
    if answer.status == _NO_SUCH_RANGE:
        raise NoSuchRangeError(said)
    if answer.status >= 500 or answer.status in _PASSING:
        raise PassingError(said, _retry_after_s(answer), busy=answer.status == 429)
    raise MediaError(Reason.FORBIDDEN, said)


def _retry_after_s(answer: aiohttp.ClientResponse) -> float | None:
    text = answer.headers.get("Retry-After")
    if text is None or answer.status not in _BUSY:
        return None
    if _SECONDS.fullmatch(text):
        return float(text)
    try:
        date = parsedate_to_datetime(text)
        if date.tzinfo is None:  # such dates are GMT by HTTP's own rule
            date = date.replace(tzinfo=timezone.utc)
        return max(0.0, (date - datetime.now(timezone.utc)).total_seconds())
    except (ValueError, TypeError, OverflowError):  # a word about when, which says nothing
        return None


def _as_written(url: str) -> URL:
    """The URL without another quoting than its own where it has one, since signatures are made over it."""
    quoted = url.isascii() and url.isprintable() and not set(url) & set(' "<>\\^`{|}')
    try:
        address = URL(url, encoded=quoted)
        if not address.host or not address.port:  # a wrong port is noticed only when it is asked for
            raise ValueError("no host")
        address.host.encode("idna")  # as it will be looked up
        return address
    except ValueError as error:
        raise MediaError(Reason.MISSING, f"expected a URL, found {url!r} ({error})") from None


def _read_cookies(file: str) -> "list[tuple[str, Morsel[str]]]":
    jar = MozillaCookieJar(file)
    try:
        jar.load(ignore_discard=True, ignore_expires=True)
    except LoadError as error:
        raise SettingsError(f"fetch.cookies: expected a Netscape cookies.txt, found another file ({error})") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"fetch.cookies: {file}: can't read it: {error}") from None
    cookies = []
    for cookie in jar:
        morsel: Morsel[str] = Morsel()
        try:
            morsel.set(cookie.name, cookie.value or "", cookie.value or "")
        except CookieError as error:
            raise SettingsError(f"fetch.cookies: {file}: a cookie that can't be sent: {error}") from None
        morsel["domain"], morsel["path"] = cookie.domain, cookie.path
        morsel["secure"] = cookie.secure
        cookies.append((cookie.name, morsel))
    return cookies
