"""A server that answers HTTP requests with bytes that are given, whatever they are."""

import socket
import threading
import time
from contextlib import suppress
from types import TracebackType


class RawServer:
    """Answers each request for a path with the bytes planned for it and then hangs up; others with 404.

    Args:
        address: of this machine, where it listens.
        pause_s: between any two bytes; 0 sends all at once.

    Attributes:
        answers: by path.
        asked: paths that were asked for, in order.
    """

    def __init__(self, address: str = "127.0.0.1", pause_s: float = 0) -> None:
        self._pause_s = pause_s
        self.answers: dict[str, bytes] = {}
        self.asked: list[str] = []
        self._socket = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        self._socket.bind((address, 0))
        self._socket.listen(64)
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://{f'[{address}]' if ':' in address else address}:{self.port}"

    def __enter__(self) -> "RawServer":
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                connection = self._socket.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            request = b""
            while b"\r\n\r\n" not in request:
                if not (piece := connection.recv(1 << 16)):
                    return
                request += piece
            path = request.split(b" ", 2)[1].decode("latin-1")
            self.asked.append(path)
            content = self.answers.get(path, answer(b"", status=b"404 Not Found"))
            pieces = [bytes([byte]) for byte in content] if self._pause_s else [content]
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(self._pause_s)


def answer(body: bytes, *headers: bytes, status: bytes = b"200 OK", length: bytes | None = None) -> bytes:
    """An answer with these headers and a right Content-Length, or the one given; none where that is empty."""
    length = b"%d" % len(body) if length is None else length
    lines = [b"HTTP/1.1 " + status, *headers, *([b"Content-Length: " + length] if length else []), b"Connection: close"]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body
