"""Signed requests to S3 without a client library, for ranged reads by the thousand; see `cluster.quick_http`.

A signature is for an object, not for a range, and a server takes it for minutes: it is made once a minute and object.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.utils import get_environ_proxies

from cluster.quick_http import Body, Connection, ConnectionPool, NotSimplyGoodError

_SIGNATURE_S = 60.0
_SIGNATURES = 4096
_FAILURES = 5
_REST_S = 30.0
_FINAL = {404, 412, 416}  # these say something about the object, nothing about the way it was asked for
_LONGEST_SILENCE_S = 10.0
_SHORTEST_S = 0.1
_ATTEMPT_S = 45.0
_SLOWEST_BYTES_S = 256_000
_log = logging.getLogger(__name__)


@dataclass
class Get:
    """A wish for bytes of an object, and what came of it.

    Attributes:
        path: `bucket/key`.
        start: first byte.
        end: byte after the last one; None for the whole object (`start` is 0 then).
        etag: the version wanted; None for whichever is there.
        into: memory of `end - start` bytes where they go, one piece after the other; else they get memory of their own.
        body: what came by the quick way.
        method: `GET`, or `HEAD` for the headers alone.
        filled: whether `into` was filled, by the quick way.
    """

    path: str
    start: int = 0
    end: int | None = None
    etag: str | None = None
    into: Sequence[memoryview] = ()
    body: Body = field(default_factory=Body)
    method: str = "GET"
    filled: bool = False


Account = Callable[[str], tuple[str, Any, str] | None]
"""For a bucket: what comes before the key in its objects' URLs, botocore's frozen credentials, and the region; None
where requests are not signed."""


@dataclass(frozen=True)
class _Way:
    """How the objects of a bucket are asked for until `until`."""

    until: float
    pool: ConnectionPool | None
    address: str = ""
    credentials: Any = None
    region: str = ""


class QuickS3:
    """Quick requests of one process and account, for many threads.

    Where they fail several times in a row (a proxy or a server of its own kind stands between), they rest for a while.
    """

    def __init__(self, account: Account) -> None:
        self._account = account
        self._ways: dict[str, _Way] = {}
        self._pools: dict[str, ConnectionPool] = {}
        self._signed: dict[tuple[str, str], tuple[float, bytes]] = {}
        self._failures = 0
        self._rests_until = 0.0

    def ask(self, get: Get, patience_s: float) -> bool:
        """Make one request; whether its answer is simply good and `get.body` holds it. If not, it holds what came."""
        sent = self._send(get, patience_s)
        return sent is not None and self._receive(get, sent, patience_s)

    def ask_many(
        self, gets: Iterable[Get], at_once: int, patience_s: float, otherwise: Callable[[Get], "Future[bytes]"]
    ) -> Iterator[bytes | Exception]:
        """Ask for many, `at_once` of them at a time, each on a connection of its own; the answers, in order.

        While one is read, those of the others come in by themselves, up to what the kernel holds for a connection.

        Args:
            gets: what is wanted.
            at_once: requests under way at a time.
            patience_s: as everywhere.
            otherwise: begins to ask in another way for what was not simply answered.
        """
        waiting: deque[_Asked] = deque()

        def finish(asked: _Asked) -> None:
            if asked.sent is not None:
                sent, asked.sent = asked.sent, None
                if not self._receive(asked.get, sent, patience_s):
                    asked.future = otherwise(asked.get)

        def take() -> bytes | Exception:
            finish(waiting[0])
            if waiting[0].future is not None:
                for other in waiting:  # nobody's connection waits while the first one is asked for patiently
                    finish(other)
            asked = waiting.popleft()
            if asked.future is None:
                return b"" if asked.get.filled else asked.get.body.content()
            try:
                return asked.future.result()
            except Exception as error:
                return error

        try:
            for get in gets:
                sent = self._send(get, patience_s)
                waiting.append(_Asked(get, sent, otherwise(get) if sent is None else None))
                if len(waiting) >= at_once:
                    yield take()
            while waiting:
                yield take()
        finally:
            for asked in waiting:
                if asked.sent is not None:
                    asked.sent[1].close()
                if asked.future is not None:
                    asked.future.cancel()

    def _send(self, get: Get, patience_s: float, fresh: bool = False) -> "_Sent | None":
        way = self._way(get.path.partition("/")[0])
        if way.pool is None or self._rests_until > time.monotonic():
            return None
        request = self._signature(get, way)
        if get.end is not None:
            request += b"Range: bytes=%d-%d\r\n" % (get.start, get.end - 1)
        if get.etag is not None:
            request += b"If-Match: %s\r\n" % get.etag.encode()
        silence_s = min(_LONGEST_SILENCE_S, max(_SHORTEST_S, patience_s / 2))
        try:
            connection = way.pool.take(silence_s, fresh)
        except OSError:
            self._failed()
            return None
        try:
            connection.send(request + b"\r\n", silence_s)
        except BaseException as error:
            connection.close()
            if not isinstance(error, OSError):
                raise
            if fresh or connection.uses == 1:
                self._failed()
                return None
            return self._send(get, patience_s, fresh=True)
        return way.pool, connection

    def _receive(self, get: Get, sent: "_Sent", patience_s: float) -> bool:
        pool, connection = sent
        wanted = 206 if get.end is not None else 200
        size = get.end - get.start if get.end is not None else 0
        limit_s = min(max(_SHORTEST_S, patience_s / 2), _ATTEMPT_S + size / _SLOWEST_BYTES_S)
        try:
            connection.receive(get.body, wanted, limit_s, get.into, head_only=get.method == "HEAD")
        except NotSimplyGoodError:
            if get.body.status not in _FINAL:
                self._failed()
            return False
        except OSError:
            if get.body.status or connection.uses == 1:
                self._failed()
                return False
        else:
            self._failures = 0
            if get.etag is None or get.body.headers.get("etag") == get.etag:
                get.filled = bool(get.into)
                return True
            get.body = Body()  # of another version, from a server that knows no conditions
            return False
        finally:
            pool.give_back(connection)
        # the server had closed the connection while it was idle, and nobody has failed
        again = self._send(get, patience_s, fresh=True)
        return again is not None and self._receive(get, again, patience_s)

    def _failed(self) -> None:
        self._failures += 1
        if self._failures >= _FAILURES:
            self._failures = 0
            self._rests_until = time.monotonic() + _REST_S
            _log.debug("bare requests to S3 fail; the patient client makes them for %.0f s", _REST_S)

    def _way(self, bucket: str) -> _Way:
        way = self._ways.get(bucket)
        if way is None or way.until < time.monotonic():
            account = self._account(bucket)
            until = time.monotonic() + _SIGNATURE_S
            if account is None:
                way = _Way(until, None)
            else:
                address, credentials, region = account
                parts = urlsplit(address)
                if parts.scheme in get_environ_proxies(address):
                    way = _Way(until, None)
                else:
                    server = f"{parts.scheme}://{parts.netloc}"
                    pool = self._pools.get(server) or self._pools.setdefault(server, ConnectionPool(server))
                    way = _Way(until, pool, address, credentials, region)
            self._ways[bucket] = way
        return way

    def _signature(self, get: Get, way: _Way) -> bytes:
        """The request's lines but those that its range and version add."""
        now = time.monotonic()
        found = self._signed.get((get.method, get.path))
        if found is not None and now < found[0]:
            return found[1]
        request = AWSRequest(get.method, way.address + quote(get.path.partition("/")[2], safe="/~"))
        S3SigV4Auth(way.credentials, "s3", way.region).add_auth(request)
        parts = urlsplit(request.url)
        lines = [f"{get.method} {parts.path} HTTP/1.1", f"Host: {parts.netloc}"]
        lines += [f"{name}: {value}" for name, value in request.headers.items()]
        signed = "".join(f"{line}\r\n" for line in lines).encode()
        if len(self._signed) >= _SIGNATURES:
            self._signed.clear()
        self._signed[get.method, get.path] = (now + _SIGNATURE_S, signed)
        return signed


_Sent = tuple[ConnectionPool, Connection]


@dataclass
class _Asked:
    get: Get
    sent: _Sent | None
    future: "Future[bytes] | None"
