"""Whatever one server answers, it is that row's failure, with a true reason, and the other rows come."""

import gzip
import logging
import os
import socket
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.pace import LocalPace
from pipeline.prepare.fetch import addresses, bounded_resolver, web_client
from pipeline.prepare.fetch.addresses import Inside, inside
from pipeline.prepare.fetch.fetched import fetched
from pipeline.prepare.fetch.settings import FetchSettings
from pipeline.prepare.manifests.row import VideoRow
from raw_http_server import RawServer, answer

GOOD = answer(b"video" * 100)
QUICK = FetchSettings(attempts=1, stall_s=2, patience_s=20, longest_wait_s=1)
ZEROS = gzip.compress(bytes(3_000_000))


@pytest.fixture
def server() -> Iterator[RawServer]:
    with RawServer() as running:
        running.answers["/good.mp4"] = GOOD
        yield running


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """An empty folder, which must be empty again at the end."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    yield folder
    assert os.listdir(folder) == []


def outcomes(urls: list[str], scratch: Path, settings: FetchSettings = QUICK) -> list[tuple[str, str]]:
    """Reason and message of each row, or `ok` and its content."""
    found = []
    for one in fetched([VideoRow(f"v{n}", url) for n, url in enumerate(urls)], settings, scratch, LocalPace()):
        if one.problem is None:
            found.append(("ok", Path(str(one.place)).read_bytes().decode("latin-1")))
        else:
            found.append((str(one.problem.reason), str(one.problem)))
    return found


def moved(location: bytes) -> bytes:
    return answer(b"", b"Location: " + location, status=b"302 Found")


ODD = {
    "a time to come back without a zone": (
        answer(b"", b"Retry-After: Fri, 31 Dec 2100 23:59:59", status=b"503 Busy"),
        "unreachable",
        "wants to be asked again",
    ),
    "a time to come back that is none": (
        answer(b"", b"Retry-After: Fri, 99 Dec 99999 99:99:99 GMT", status=b"429 Busy"),
        "unreachable",
        "answered 429",
    ),
    "digits that are no number": (
        answer(b"", "Retry-After: ²".encode(), status=b"503 Busy"),
        "unreachable",
        "answered 503",
    ),
    "a redirect to no address": (moved(b"http://[::1/x"), "missing", "no URL"),
    "a redirect to an odd host": (moved(b"http://xn--\xff\xfe..\x80/x"), "missing", "URL"),
    "a redirect to a host that is too long": (moved(b"http://" + b"a" * 300 + b".com/x"), "missing", "URL"),
    "a redirect to a file": (moved(b"file:///etc/passwd"), "missing", "not on the web"),
    "a redirect with control characters": (moved(b"/a\x0f\x0b\x7f.mp4"), "missing", "answered 404"),
    "redirects without end": (moved(b"/odd.mp4"), "unreachable", "more than 10 redirects"),
    "bytes that are no gzip": (
        answer(b"not packed at all", b"Content-Encoding: gzip"),
        "unreachable",
        "packed content is damaged",
    ),
    "an unknown packing": (answer(b"x", b"Content-Encoding: odd"), "unreadable", "packed as odd"),
    "a length that is none": (answer(b"x", length=b"-5"), "unreachable", "Content-Length"),
    "a length of 5000 digits": (answer(b"x", length=b"9" * 5000), "unreachable", ""),
    "a header of 100 kB": (answer(b"x", b"X: " + b"x" * 100_000), "unreachable", ""),
    "10 000 headers": (answer(b"x", *[b"X%d: y" % n for n in range(10_000)]), "unreachable", ""),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.6\r\n", "unreachable", ""),
    "nothing": (b"", "unreachable", ""),
    "a status of nine digits": (b"HTTP/1.1 999999999 Odd\r\n\r\n", "unreachable", ""),
    "a part that nobody asked for": (
        answer(b"x", b"Content-Range: bytes 5-9/\xd9\xa3", status=b"206 Partial"),
        "unreachable",
        "another part",
    ),
    "a content type that is none": (answer(b"x", b"Content-Type: ;;=\x80; charset=nonsense"), "ok", "x"),
    "a tag that can't be sent back": (answer(b"xyz", b'ETag: "a\x0bb"', length=b"9"), "unreachable", ""),
}


@pytest.mark.parametrize("what", ODD)
def test_an_odd_answer_is_the_failure_of_its_row_alone(what: str, server: RawServer, scratch: Path) -> None:
    server.answers["/odd.mp4"], reason, message = ODD[what]
    odd, good = outcomes([f"{server.url}/odd.mp4", f"{server.url}/good.mp4"], scratch)
    assert odd[0] == reason, odd
    assert message in odd[1]
    assert good[0] == "ok"


HOSTS = [
    "http://[::1/x",
    "http://[::zz]/x",
    "http://a..b/x",
    "http://" + "é" * 100 + "/x",
    "http://\u2100\uff0f/x.mp4",
    "http://user@:80@/x",
    "http://h:99999/x",
    "http://\udc80/x",
    "https://",
    "http://%zz/",
]


def test_addresses_in_a_list_that_are_none_fail_one_by_one(server: RawServer, scratch: Path) -> None:
    found = outcomes([*HOSTS, f"{server.url}/good.mp4"], scratch)
    assert {reason for reason, _ in found[:-1]} <= {"missing", "unreachable"}, found
    assert found[-1][0] == "ok"


def test_a_fault_of_gavt_fails_one_row_and_is_logged_with_its_traceback(
    server: RawServer, scratch: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(answer: Any) -> None:
        if "odd" in str(answer.url):
            raise TypeError("can't subtract http://user:pass@host/")

    monkeypatch.setattr(web_client, "_check", broken)
    with caplog.at_level(logging.ERROR):
        odd, again, good = outcomes([f"{server.url}/{name}.mp4" for name in ("odd", "odd2", "good")], scratch)
    assert odd == again
    assert odd[0] == "error"
    assert odd[1].startswith("fetching raised TypeError at test_fetch_hostile.py:")
    assert good[0] == "ok"
    assert caplog.text.count("Traceback") == 1
    assert "in broken" in caplog.text
    assert "pass" not in odd[1] + caplog.text.replace("bypass", "")


def test_downloads_end_at_the_largest_size_by_what_is_announced_what_comes_and_what_it_unpacks_to(
    server: RawServer, scratch: Path
) -> None:
    settings = QUICK.model_copy(update={"max_gb": 0.001})
    server.answers |= {
        "/announced.mp4": answer(b"x" * 100, length=b"2000000"),
        "/endless.mp4": answer(b"x" * 2_000_000, length=b""),
        "/packed.mp4": answer(ZEROS, b"Content-Encoding: gzip"),
        "/fits.mp4": answer(gzip.compress(bytes(900_000)), b"Content-Encoding: gzip"),
    }
    assert len(ZEROS) < 10_000
    *large, fits = outcomes([f"{server.url}{path}" for path in list(server.answers)[1:]], scratch, settings)
    for reason, message in large:
        assert reason == "too_large"
        assert "fetch.max_gb" in message
    assert fits == ("ok", "\0" * 900_000)


def test_what_unpacks_to_a_thousand_times_its_size_never_lies_in_memory_as_a_whole(monkeypatch: Any) -> None:
    from pipeline.prepare.fetch.web_file import _UNPACKED_AT_ONCE, _unpacked

    packed = gzip.compress(bytes(40_000_000))
    pieces = [len(piece) for piece in _unpacked(packed, zlib.decompressobj(zlib.MAX_WBITS | 32))]
    assert sum(pieces) == 40_000_000
    assert max(pieces) <= _UNPACKED_AT_ONCE


PLACES = {
    "8.8.8.8": Inside.PUBLIC,
    "2606:4700::1111": Inside.PUBLIC,
    "10.1.2.3": Inside.PRIVATE,
    "172.16.0.1": Inside.PRIVATE,
    "192.168.1.1": Inside.PRIVATE,
    "100.64.0.1": Inside.PRIVATE,
    "fc00::1": Inside.PRIVATE,
    "169.254.169.254": Inside.LINK_LOCAL,
    "fe80::1%eth0": Inside.LINK_LOCAL,
    "127.0.0.1": Inside.LOOPBACK,
    "0.0.0.0": Inside.LOOPBACK,
    "::1": Inside.LOOPBACK,
    "::ffff:127.0.0.1": Inside.LOOPBACK,
    "::ffff:169.254.169.254": Inside.LINK_LOCAL,
    "64:ff9b::7f00:1": Inside.LOOPBACK,
    "2002:7f00:1::": Inside.LOOPBACK,
}


@pytest.mark.parametrize("address", PLACES)
def test_how_far_inside_an_address_lies(address: str) -> None:
    assert inside(address) == PLACES[address]


@pytest.fixture
def public(monkeypatch: pytest.MonkeyPatch) -> Iterator[RawServer]:
    """A server whose address counts as public."""
    outer = inside

    def inside_but_one(address: str) -> Inside:
        return Inside.PUBLIC if address == "127.0.0.2" else outer(address)

    for module in (addresses, bounded_resolver):
        monkeypatch.setattr(module, "inside", inside_but_one)
    with RawServer("127.0.0.2") as running:
        yield running


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "0x7f.1", "2130706433"])
def test_a_public_server_redirects_to_no_internal_address_however_it_is_written(
    host: str, public: RawServer, server: RawServer, scratch: Path
) -> None:
    public.answers["/a.mp4"] = moved(f"http://{host}:{server.port}/good.mp4".encode())
    ((reason, message),) = outcomes([f"{public.url}/a.mp4"], scratch)
    assert server.asked == []
    if "fetch.internal_redirects" not in message:  # it is written in a way that is no host at all
        assert (reason, host in ("127.1", "2130706433")) == ("missing", True)
        return
    assert reason == "forbidden"
    allowed = QUICK.model_copy(update={"internal_redirects": True})
    assert outcomes([f"{public.url}/a.mp4"], scratch, allowed)[0][0] == "ok"


def test_a_server_redirects_to_others_as_far_inside_as_itself(server: RawServer, scratch: Path) -> None:
    with RawServer() as other:
        other.answers["/a.mp4"] = moved(f"http://localhost:{server.port}/good.mp4".encode())
        assert outcomes([f"{other.url}/a.mp4"], scratch)[0][0] == "ok"


def test_a_page_leads_yt_dlp_to_no_address_further_inside_than_its_own(
    public: RawServer, server: RawServer, scratch: Path
) -> None:
    pytest.importorskip("yt_dlp")
    from pipeline.prepare.fetch.yt_dlp_process import _stay_outside

    before = socket.getaddrinfo
    try:
        _stay_outside(Inside.PUBLIC)
        with pytest.raises(socket.gaierror, match="internal_redirects"):
            socket.create_connection(("localhost", server.port))
        _stay_outside(Inside.LOOPBACK)
    finally:
        socket.getaddrinfo = before
    socket.create_connection(("localhost", server.port)).close()


def test_headers_that_come_a_byte_at_a_time_end_with_the_patience_for_the_video(scratch: Path) -> None:
    begun = time.monotonic()
    with RawServer(pause_s=0.3) as slow:
        slow.answers["/a.mp4"] = answer(b"x", b"X: " + b"x" * 1000)
        settings = QUICK.model_copy(update={"patience_s": 1.5})
        assert outcomes([f"{slow.url}/a.mp4"], scratch, settings)[0][0] == "unreachable"
    assert time.monotonic() - begun < 20
