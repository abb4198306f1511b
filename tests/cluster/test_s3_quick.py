"""Bare requests to servers of every kind: what is not simply good is left to others, and nothing that came is lost."""

import shutil
import socket
import ssl
import subprocess
import threading
from concurrent.futures import Future
from pathlib import Path

import pytest
from botocore.credentials import ReadOnlyCredentials

from cluster.s3.quick import Get, QuickS3

GOOD = b'HTTP/1.1 206 Partial Content\r\nContent-Length: 5\r\nETag: "Ab"\r\nContent-Range: bytes 2-6/9\r\n\r\nhello'


class Script:
    """A server that says what it is told: one list of answers a connection, which ends with its last answer."""

    def __init__(self, connections: list[list[bytes]], context: ssl.SSLContext | None = None) -> None:
        self.asked: list[list[bytes]] = []
        self._connections = connections
        self._context = context
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"{'https' if context else 'http'}://localhost:{self._server.getsockname()[1]}/bucket/"

    def __enter__(self) -> "Script":
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.close()

    def _serve(self) -> None:
        for answers in self._connections:
            try:
                plain, _ = self._server.accept()
                connection = self._context.wrap_socket(plain, server_side=True) if self._context else plain
            except OSError:
                return
            self.asked.append([])
            with connection:
                for answer in answers:
                    request = b""
                    while b"\r\n\r\n" not in request and (piece := connection.recv(4096)):
                        request += piece
                    if not request:
                        break
                    self.asked[-1].append(request)
                    connection.sendall(answer)

    def quick(self) -> QuickS3:
        return QuickS3(lambda bucket: (self.address, ReadOnlyCredentials("key", "secret", None), "us-east-1"))


def ask(quick: QuickS3, patience_s: float = 2.0) -> tuple[bool, bytes]:
    get = Get("bucket/a b", 2, 7, '"Ab"')
    return quick.ask(get, patience_s), get.body.content()


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def test_a_connection_is_kept_and_the_request_says_it_all() -> None:
    with Script([[GOOD, GOOD]]) as server:
        quick = server.quick()
        assert ask(quick) == ask(quick) == (True, b"hello")
    (requests,) = server.asked
    for request in requests:
        lines = request.decode().split("\r\n")
        assert lines[0] == "GET /bucket/a%20b HTTP/1.1"
        assert {"Range: bytes=2-6", 'If-Match: "Ab"', "Host: " + server.address.split("/")[2]} <= set(lines)
        assert any("AWS4-HMAC-SHA256 Credential=key/" in line for line in lines)


def test_an_idle_connection_that_the_server_closed_is_made_anew() -> None:
    with Script([[GOOD], [GOOD], [GOOD]]) as server:
        quick = server.quick()
        assert [ask(quick), ask(quick), ask(quick)] == [(True, b"hello")] * 3
    assert [len(requests) for requests in server.asked] == [1, 1, 1]


@pytest.mark.parametrize(
    ("answer", "came"),
    [
        (GOOD[:-2], b"hel"),
        (GOOD[:-5], b""),
        (GOOD[:20], b""),
        (b"", b""),
        (b"HTTP/1.1 503 Slow Down\r\nContent-Length: 2\r\n\r\nno", b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n__hello__", b""),
        (b"HTTP/1.1 206 Partial Content\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", b""),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", b""),
        (b"HTTP/1.1 206 " + b"x" * 100_000, b""),
    ],
)
def test_what_is_not_simply_good_is_left_to_others(answer: bytes, came: bytes) -> None:
    with Script([[answer]]) as server:
        assert ask(server.quick()) == (False, came)


def test_an_answer_with_more_than_it_announced_is_taken_but_its_connection_is_not_kept() -> None:
    with Script([[GOOD + b"HTTP/1.1 206 X", GOOD], [GOOD]]) as server:
        quick = server.quick()
        assert ask(quick) == ask(quick) == (True, b"hello")
    assert [len(requests) for requests in server.asked] == [1, 1]


def test_silence_ends_within_half_of_patience() -> None:
    """A server that accepts and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/bucket/"
        quick = QuickS3(lambda bucket: (address, ReadOnlyCredentials("key", "secret", None), "us-east-1"))
        assert ask(quick, patience_s=0.3) == (False, b"")


def test_what_fails_again_and_again_rests() -> None:
    with Script([[b"no"]] * 9) as server:
        quick = server.quick()
        assert [ask(quick)[0] for _ in range(9)] == [False] * 9
    assert 0 < len(server.asked) < 9


def test_unsigned_requests_and_proxies_are_left_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask(QuickS3(lambda bucket: None)) == (False, b"")
    with Script([[GOOD]]) as server:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert ask(server.quick()) == (False, b"")
        assert server.asked == []


def test_while_one_is_asked_for_otherwise_the_others_are_read() -> None:
    with Script([[GOOD[:-2]], [GOOD], [GOOD]]) as server:
        quick, asked = server.quick(), []

        def otherwise(get: Get) -> "Future[bytes]":
            asked.append(get)
            future: Future[bytes] = Future()
            future.set_result(get.body.content() + b"--")
            return future

        gets = [Get("bucket/x", 2, 7) for _ in range(3)]
        assert list(quick.ask_many(gets, 3, 2.0, otherwise)) == [b"hel--", b"hello", b"hello"]
        assert asked == [gets[0]]


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for `localhost` and its key, in one file."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on this machine")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key -out crt -days 2"
    subprocess.run(
        [*command.split(), "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    (tmp_path / "both").write_bytes((tmp_path / "key").read_bytes() + (tmp_path / "crt").read_bytes())
    return tmp_path / "both"


def test_tls_with_a_certificate_that_is_known_and_one_that_is_not(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    with Script([[GOOD, GOOD[:-1]]], context) as server:
        quick = server.quick()
        assert ask(quick) == (True, b"hello")
        assert ask(quick) == (False, b"hell")
    monkeypatch.delenv("AWS_CA_BUNDLE")
    with Script([[GOOD]], context) as server:
        assert ask(server.quick()) == (False, b"")
        assert server.asked == []


@pytest.mark.parametrize("secure", [False, True])
def test_memory_is_filled_piece_by_piece_and_what_came_before_a_break_is_not_lost(
    certificate: Path, monkeypatch: pytest.MonkeyPatch, secure: bool
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    shorter = GOOD.replace(b"Length: 5", b"Length: 4")[:-1]
    with Script([[GOOD, GOOD[:-1]], [shorter]], context if secure else None) as server:
        quick = server.quick()
        for good, came in ((True, b"hello"), (False, b"hell"), (False, b"")):  # fewer bytes than announced; than wanted
            memory = [memoryview(bytearray(size)) for size in (2, 0, 3)]
            get = Get("bucket/a b", 2, 7, '"Ab"', memory)
            assert (quick.ask(get, 2.0), get.filled, get.body.content()) == (good, good, came)
            assert b"".join(memory) == came.ljust(5, b"\0")
