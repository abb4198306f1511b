"""Bare HTTP/1.1 requests for thousands of small reads a second, in the calling thread.

A client library spends two to three milliseconds of a core on a ranged GET, an event loop most of one; here it is about
a tenth of one. The price is that only answers that are simply good are understood: one of a known length, with the
wanted status. For everything else the caller asks again with a patient client; what came of a body before the
connection broke is handed out, so that it can go on there.
"""

import os
import socket
import ssl
import struct
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from botocore.httpsession import get_cert_path

_IDLE_S = 15.0  # servers close connections that were idle for longer, and a request on such a one is lost
_LEAST_WAIT_S = 1.0
_HEAD_PIECE = 4096
_LONGEST_HEAD = 64 << 10
_TLS_PIECE = 256 << 10


class NotSimplyGoodError(OSError):
    """The request has to be made again by somebody who understands why."""


@dataclass
class Body:
    """What came of a body.

    Attributes:
        status: of the answer; 0 as long as none came.
        headers: names in lower case.
        length: bytes that the answer announced.
        pieces: those that came, in order.
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    length: int = 0
    pieces: list[bytes | memoryview] = field(default_factory=list)

    @property
    def came(self) -> int:
        """Bytes that came."""
        return sum(map(len, self.pieces))

    def content(self) -> bytes:
        """The bytes that came."""
        return bytes(self.pieces[0]) if len(self.pieces) == 1 else b"".join(self.pieces)


class Connection:
    """One kept-alive connection; a request is `send`, then `receive`.

    Args:
        host: name or address, and `port` there.
        context: for TLS; None for plain HTTP.
        limit_s: for connecting.

    Raises:
        OSError: nobody answers there.
    """

    def __init__(self, host: str, port: int, context: ssl.SSLContext | None, limit_s: float) -> None:
        plain = socket.create_connection((host, port), limit_s)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket = plain if context is None else context.wrap_socket(plain, server_hostname=host)
        except BaseException:
            plain.close()
            raise
        self._plain = context is None
        self._silence_s = 0.0
        self._sent = 0.0
        self.uses = 0
        self.idle_since = 0.0
        self.reusable = False
        """Whether the last answer was read to its end and the server keeps the connection."""

    def close(self) -> None:
        """Drop the connection."""
        self._socket.close()

    def send(self, request: bytes, silence_s: float) -> None:
        """Send a request; `silence_s` is for how long (s) the server may be silent, now and in the answer."""
        self._limit_silence(silence_s)
        self.reusable = False
        self.uses += 1
        self._sent = time.monotonic()
        self._socket.sendall(request)
        # a server that waits for the first packet's receipt before it sends the last would wait 40 ms each time
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def receive(
        self, body: Body, wanted: int, limit_s: float, into: Sequence[memoryview] = (), head_only: bool = False
    ) -> None:
        """Read an answer into `body`, which keeps what came whatever happens.

        Args:
            body: filled.
            wanted: status of a good answer.
            limit_s: for the whole answer, from now on.
            into: memory for exactly the body's bytes, one piece after the other; else they get memory of their own.
            head_only: the answer of a HEAD request.

        Raises:
            OSError: the connection broke or time is up.
            NotSimplyGoodError: another answer than the wanted one.
        """
        begun, silence_s = time.monotonic(), self._silence_s
        if begun - self._sent > _LEAST_WAIT_S:  # the server had time while others were read
            self._limit_silence(max(_LEAST_WAIT_S, silence_s - (begun - self._sent)))
        head = b""
        while (end := head.find(b"\r\n\r\n")) < 0:
            piece = self._socket.recv(_HEAD_PIECE)
            if not piece:
                raise ConnectionError("no answer")
            head += piece
            if len(head) > _LONGEST_HEAD or not head.startswith(b"HTTP/1.1 "[: len(head)]):
                raise NotSimplyGoodError("no HTTP/1.1")
        lines = head[:end].decode("latin-1").split("\r\n")
        headers = body.headers
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        body.status = int(lines[0][9:12]) if lines[0][9:12].isdigit() else 0
        length = headers.get("content-length", "")
        if body.status != wanted or "transfer-encoding" in headers or not length.isdigit():
            raise NotSimplyGoodError(lines[0])
        body.length = int(length)
        if into and body.length != sum(map(len, into)):
            raise NotSimplyGoodError(f"a body of {length} bytes")
        rest = head[end + 4 :]
        if not head_only:
            self._limit_silence(silence_s)
            if into:
                self._receive_into(body, rest[: body.length], into, begun + limit_s)
            else:
                self._receive_body(body, rest[: body.length], begun + limit_s)
            rest = rest[body.length :]
        self.reusable = not rest and headers.get("connection", "").lower() != "close"

    def _receive_body(self, body: Body, begin: bytes, deadline: float) -> None:
        if begin:
            body.pieces.append(begin)
        missing = body.length - len(begin)
        while missing:
            if self._plain:
                piece = self._socket.recv(missing, socket.MSG_WAITALL)
            else:
                piece = self._socket.recv(min(missing, _TLS_PIECE))
            if not piece:
                raise ConnectionError(f"expected {body.length} bytes, found {body.came}")
            body.pieces.append(piece)
            missing -= len(piece)
            if missing and time.monotonic() > deadline:
                raise TimeoutError(f"expected {body.length} bytes in time, found {body.came}")

    def _receive_into(self, body: Body, begin: bytes, into: Sequence[memoryview], deadline: float) -> None:
        for memory in into:
            came = min(len(begin), len(memory))
            memory[:came], begin = begin[:came], begin[came:]
            body.pieces.append(memory[:came])
            while came < len(memory):
                if self._plain:
                    size = self._socket.recv_into(memory[came:], 0, socket.MSG_WAITALL)
                else:
                    size = self._socket.recv_into(memory[came : came + _TLS_PIECE])
                if not size:
                    raise ConnectionError(f"expected {body.length} bytes, found {body.came}")
                body.pieces.append(memory[came : came + size])
                came += size
                if came < len(memory) and time.monotonic() > deadline:
                    raise TimeoutError(f"expected {body.length} bytes in time, found {body.came}")

    def _limit_silence(self, limit_s: float) -> None:
        if limit_s == self._silence_s:
            return
        self._silence_s = limit_s
        if not self._plain:
            self._socket.settimeout(limit_s)
            return
        # limits of the kernel leave the socket blocking, so that a whole body is one call
        self._socket.settimeout(None)
        limit = struct.pack("ll", int(limit_s), int(limit_s % 1 * 1e6))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)


class ConnectionPool:
    """Connections to one server (`http://host:port` or `https://…`), kept for the next request; for many threads.

    Certificates are checked against `AWS_CA_BUNDLE` or `REQUESTS_CA_BUNDLE`, else botocore's own.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._context: ssl.SSLContext | None = None
        if parts.scheme == "https":
            bundle = os.environ.get("AWS_CA_BUNDLE") or os.environ.get("REQUESTS_CA_BUNDLE") or get_cert_path(True)
            self._context = ssl.create_default_context(cafile=bundle)
        self._idle: list[Connection] = []
        self._lock = threading.Lock()

    def take(self, limit_s: float, fresh: bool = False) -> Connection:
        """A connection of one's own, to be given back, made within `limit_s`; `fresh`: none that was used before.

        Raises:
            OSError: the server can't be reached.
        """
        while not fresh:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                break
            if time.monotonic() - connection.idle_since < _IDLE_S:
                return connection
            connection.close()
        return Connection(self._host, self._port, self._context, limit_s)

    def give_back(self, connection: Connection) -> None:
        """Keep a connection for the next request if it can take one, else close it."""
        if not connection.reusable:
            connection.close()
            return
        connection.idle_since = time.monotonic()
        with self._lock:
            self._idle.append(connection)
