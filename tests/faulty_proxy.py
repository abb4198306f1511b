"""Real HTTP servers that misbehave on order: a file server, and a proxy before another server.

Both listen on a free port of this machine, remember every request, and end with their `with` block.
"""

import hashlib
import http.client
import random
import re
import socket
import struct
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

_PIECE = 64 << 10
_HOP = {"connection", "keep-alive", "transfer-encoding", "expect"}
_SLOW_DOWN = (
    b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
)


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one answer; fields may be put together.

    Attributes:
        status: answered instead of the file.
        headers: sent with the answer.
        body: sent with `status`.
        cut_after: bytes of the body after which the connection is broken.
        bytes_per_s: how fast the body comes.
        wait_s: silence before the answer.
        no_ranges: a wanted range is ignored, and the whole file sent.
    """

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b"no"
    cut_after: int | None = None
    bytes_per_s: float | None = None
    wait_s: float = 0.0
    no_ranges: bool = False


@dataclass(frozen=True)
class Request:
    """A request that came: `time_s` on `time.monotonic`, headers with names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    time_s: float


class _Server(ABC):
    """A threaded server on a free port."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.stopped = threading.Event()
        self.lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"owner": self})
        self._server = _Threads(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Any:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()

    def asked(self, path: str, method: str = "GET") -> list[Request]:
        """The requests for a path, in order."""
        return [request for request in list(self.requests) if request.path == path and request.method == method]

    @abstractmethod
    def answer(self, handler: "_Handler") -> None:
        """Answer the request that the handler has read."""


class _Threads(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away in the middle is nothing to print."""


class _Handler(BaseHTTPRequestHandler):
    owner: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    upstream: http.client.HTTPConnection | None = None

    def log_message(self, format: str, *args: Any) -> None:
        """The log is `owner.requests`."""

    def handle_one_request(self) -> None:
        with suppress(ConnectionError):
            super().handle_one_request()

    def finish(self) -> None:
        if self.upstream is not None:
            self.upstream.close()
        with suppress(OSError, ValueError):
            super().finish()

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers, time.monotonic())
        with self.owner.lock:
            self.owner.requests.append(request)
        self.owner.answer(self)

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET

    def break_off(self) -> None:
        """End the connection as a crash does: with a reset."""
        self.close_connection = True
        with suppress(OSError):
            self.wfile.flush()
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def send_whole(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if not any(name.lower() == "content-length" for name in headers):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class FileServer(_Server):
    """Files of a folder, with ranges, ETag and Last-Modified, each request good or with the next fault planned for it.

    Args:
        folder: what is served.
        types: content type by suffix; others are `application/octet-stream`.
    """

    def __init__(self, folder: Path, types: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._folder = folder
        self._types = {".mp4": "video/mp4", ".webm": "video/webm", ".html": "text/html", **(types or {})}
        self._next: dict[str, deque[Fault]] = defaultdict(deque)
        self._always: dict[str, Fault] = {}
        self._afterwards: dict[tuple[str, int], Callable[[], object]] = {}
        self.sent: Counter[str] = Counter()
        """Bytes of bodies sent, by path."""

    def next(self, path: str, *faults: Fault) -> None:
        """The next requests for `path` get these, one each."""
        self._next[path].extend(faults)

    def always(self, path: str, fault: Fault) -> None:
        """All requests for `path` without a fault of their own get this."""
        self._always[path] = fault

    def after(self, path: str, number: int, change: Callable[[], object]) -> None:
        """Do `change` when the `number`-th request for `path` was answered, well or badly."""
        self._afterwards[path, number] = change

    def answer(self, handler: _Handler) -> None:
        number = len(self.asked(handler.path, handler.command))
        try:
            self._answer(handler)
        finally:
            self._afterwards.pop((handler.path, number), lambda: None)()

    def _answer(self, handler: _Handler) -> None:
        place = urlsplit(handler.path).path
        with self.lock:
            planned = self._next[handler.path]
            fault = planned.popleft() if planned else self._always.get(handler.path, Fault())
        if fault.wait_s and self.stopped.wait(fault.wait_s):
            handler.break_off()
            return
        if fault.status is not None:
            handler.send_whole(fault.status, fault.headers, fault.body)
            return
        file = self._folder / unquote(place).lstrip("/")
        if not file.is_file():
            handler.send_whole(404, {}, b"no such file")
            return
        content = file.read_bytes()
        etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        headers = {"ETag": etag, "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        headers["Last-Modified"] = handler.date_time_string(int(file.stat().st_mtime))
        if file.suffix in self._types:
            headers["Content-Type"] = self._types[file.suffix]
        start, end = 0, len(content)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", handler.headers.get("Range", ""))
        condition = handler.headers.get("If-Range")
        if wanted and not fault.no_ranges and condition in (None, etag, headers["Last-Modified"]):
            start = int(wanted[1])
            end = min(end, int(wanted[2]) + 1) if wanted[2] else end
            if start >= len(content):
                handler.send_whole(416, {"Content-Range": f"bytes */{len(content)}"}, b"")
                return
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
        handler.send_response(206 if "Content-Range" in headers else 200)
        for name, value in {"Content-Length": str(end - start), **headers, **fault.headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        if handler.command != "HEAD":
            self._send(handler, place, content[start:end], fault)

    def _send(self, handler: _Handler, place: str, body: bytes, fault: Fault) -> None:
        whole = len(body) if fault.cut_after is None else min(len(body), fault.cut_after)
        piece = _PIECE if fault.bytes_per_s is None else max(1, int(fault.bytes_per_s / 20))
        for start in range(0, whole, piece):
            part = body[start : min(whole, start + piece)]
            handler.wfile.write(part)
            self.sent[place] += len(part)
            if fault.bytes_per_s is not None and self.stopped.wait(len(part) / fault.bytes_per_s):
                handler.break_off()
                return
        if whole < len(body):
            # a moment for what was sent to arrive: a reset throws away what the other side has not read yet
            handler.wfile.flush()
            handler.connection.shutdown(socket.SHUT_WR)
            handler.close_connection = True


class FaultyProxy(_Server):
    """A proxy before the server `upstream` that spoils a share of the requests, each kind as often as the others.

    The kinds: `refused` (503 SlowDown, as S3 says it), `dropped` (the connection ends before the request is passed on),
    `unanswered` (passed on, but the connection ends before the answer), `cut` (the answer breaks off in the middle) and
    `slow` (`slow_s` of silence first). Headers go through unchanged, Host among them, since S3's signatures hold it.

    Attributes:
        share: of the requests, how many are spoilt (0–1); may be changed while it runs.
        kinds: those that happen.
        refuse: a method that is always refused.
        counts: what was done, by kind; `passed` is the good ones.
    """

    def __init__(self, upstream: str, share: float, seed: int = 0, slow_s: float = 0.2) -> None:
        super().__init__()
        self.share = share
        self.counts: Counter[str] = Counter()
        self.refuse: str | None = None
        self.kinds: tuple[str, ...] = ("refused", "dropped", "unanswered", "cut", "slow")
        self._upstream = upstream.removeprefix("http://")
        self._random = random.Random(seed)
        self._slow_s = slow_s

    def answer(self, handler: _Handler) -> None:
        with self.lock:
            kind = self._random.choice(self.kinds) if self._random.random() < self.share else "passed"
            if handler.command == self.refuse:
                kind = "refused"
            self.counts[kind] += 1
        body = b"".join(_body(handler))
        if kind == "refused":
            handler.send_whole(503, {"Content-Type": "application/xml"}, _SLOW_DOWN)
            return
        if kind == "dropped":
            handler.break_off()
            return
        if kind == "slow" and self.stopped.wait(self._slow_s):
            handler.break_off()
            return
        answer, content = self._ask(handler, body)
        if kind == "unanswered":
            handler.break_off()
            return
        handler.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in _HOP | {"content-length"}:
                handler.send_header(name, value)
        length = answer.getheader("Content-Length") if handler.command == "HEAD" else None
        if answer.status != 204:
            handler.send_header("Content-Length", length or str(len(content)))
        handler.end_headers()
        if handler.command == "HEAD":
            return
        if kind == "cut":
            handler.wfile.write(content[: len(content) // 2])
            handler.wfile.flush()
            handler.connection.shutdown(socket.SHUT_WR)
            handler.close_connection = True
            return
        handler.wfile.write(content)

    def _ask(self, handler: _Handler, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        if handler.upstream is None:
            handler.upstream = http.client.HTTPConnection(self._upstream, timeout=60)
        ask = handler.upstream
        ask.putrequest(handler.command, handler.path, skip_host=True, skip_accept_encoding=True)
        for name, value in handler.headers.items():
            if name.lower() not in _HOP:
                ask.putheader(name, value)
        if body and "Content-Length" not in handler.headers:
            ask.putheader("Content-Length", str(len(body)))
        ask.endheaders(body or None)
        answer = ask.getresponse()
        return answer, answer.read()


def _body(handler: _Handler) -> Iterator[bytes]:
    if "chunked" in handler.headers.get("Transfer-Encoding", "").lower():
        while size := int(handler.rfile.readline().split(b";")[0], 16):
            yield handler.rfile.read(size)
            handler.rfile.readline()
        while handler.rfile.readline().strip():
            pass
        return
    yield handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
