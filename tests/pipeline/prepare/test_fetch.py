"""Downloads from a real HTTP server that misbehaves end with the right bytes, or with the right reason."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from cluster import storage
from cluster.errors import StorageError
from cluster.pace import LocalPace
from faulty_proxy import Fault, FileServer, Request
from pipeline.errors import MediaError, SettingsError
from pipeline.prepare.fetch.fetched import Fetched, fetched
from pipeline.prepare.fetch.settings import FetchSettings
from pipeline.prepare.manifests.row import VideoRow
from pipeline.reasons import Reason

CONTENT = np.random.default_rng(0).bytes(700_001)
QUICK = FetchSettings(attempts=3, stall_s=0.6, patience_s=30)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FileServer]:
    """A file server with `/a.mp4`."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(CONTENT)
    with FileServer(folder) as running:
        yield running


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """An empty folder, which must be empty again at the end."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    yield folder
    assert os.listdir(folder) == []


def rows(*sources: str) -> list[VideoRow]:
    return [VideoRow(f"v{number}", source) for number, source in enumerate(sources)]


def contents(videos: list[VideoRow], settings: FetchSettings, scratch: Path) -> list[bytes | str]:
    """Each row's bytes, or why there are none."""
    found: list[bytes | str] = []
    for one in fetched(videos, settings, scratch, LocalPace()):
        if one.problem is not None:
            assert one.place is None
            found.append(str(one.problem.reason))
        else:
            assert one.place is not None
            found.append(storage.read_bytes(one.place))
    return found


def problem(url: str, settings: FetchSettings, scratch: Path) -> MediaError:
    (result,) = fetched(rows(url), settings, scratch, LocalPace())
    assert result.problem is not None
    return result.problem


def starts(requests: list[Request]) -> list[int]:
    """First byte that each request asked for."""
    return [int(request.headers.get("range", "bytes=0-")[6:].split("-")[0]) for request in requests]


def test_a_file_comes_whole_and_goes_when_the_next_row_is_asked_for(server: FileServer, scratch: Path) -> None:
    with closing(fetched(rows(f"{server.url}/a.mp4", "/local/file.mp4"), QUICK, scratch, LocalPace())) as videos:
        first = next(videos)
        assert first.place is not None
        assert Path(first.place).read_bytes() == CONTENT
        assert Path(first.place).suffix == ".mp4"
        second = next(videos)
        assert second == Fetched(second.row, "/local/file.mp4")
        assert not Path(first.place).exists()
    assert len(server.asked("/a.mp4")) == 1


def test_files_here_and_object_storage_are_read_where_they_are(scratch: Path) -> None:
    threads = threading.active_count()
    for one in fetched(rows("/no/such file.mp4", "s3://bucket/x.mp4", "file:///x"), QUICK, scratch, LocalPace()):
        assert one.place == one.row.source
        assert threading.active_count() == threads


def test_what_was_cut_off_is_gone_on_with_where_it_ended(server: FileServer, scratch: Path) -> None:
    cuts = [100_000, 50_000, 200_000, 1, 7, 30_000]  # more than the attempts, but each brings something
    server.next("/a.mp4", *(Fault(cut_after=cut) for cut in cuts))
    assert contents(rows(f"{server.url}/a.mp4"), QUICK, scratch) == [CONTENT]
    asked = server.asked("/a.mp4")
    assert len(asked) == len(cuts) + 1
    assert starts(asked) == [sum(cuts[:number]) for number in range(len(cuts) + 1)]
    assert all(request.headers["if-range"].startswith('"') for request in asked[1:])
    assert server.sent["/a.mp4"] == len(CONTENT)


def test_a_server_without_ranges_is_asked_for_the_whole_file_again(server: FileServer, scratch: Path) -> None:
    server.next("/a.mp4", Fault(cut_after=100_000), Fault(no_ranges=True))
    assert contents(rows(f"{server.url}/a.mp4"), QUICK, scratch) == [CONTENT]


def test_a_file_that_changed_between_attempts_is_fetched_from_its_beginning(
    server: FileServer, scratch: Path, tmp_path: Path
) -> None:
    other = bytes(reversed(CONTENT))
    server.next("/a.mp4", Fault(cut_after=300_000))
    videos = fetched(rows(f"{server.url}/a.mp4"), QUICK, scratch, LocalPace())
    server.after("/a.mp4", 1, lambda: (tmp_path / "served/a.mp4").write_bytes(other))
    (video,) = (Path(str(one.place)).read_bytes() for one in videos)
    assert video == other


def test_too_many_requests_are_followed_by_the_wait_that_was_asked_for(server: FileServer, scratch: Path) -> None:
    server.next("/a.mp4", Fault(status=429, headers={"Retry-After": "1"}))
    assert contents(rows(f"{server.url}/a.mp4"), QUICK, scratch) == [CONTENT]
    first, second = server.asked("/a.mp4")
    assert second.time_s - first.time_s >= 1


def test_a_host_that_asks_for_a_pause_is_left_alone_by_all(server: FileServer, scratch: Path, tmp_path: Path) -> None:
    for name in "bcd":
        (tmp_path / f"served/{name}.mp4").write_bytes(name.encode())
    server.next("/a.mp4", Fault(status=503, headers={"Retry-After": "2"}))
    settings = QUICK.model_copy(update={"ahead": 1})
    videos = rows(*(f"{server.url}/{name}.mp4" for name in "abcd"))
    assert contents(videos, settings, scratch) == [CONTENT, b"b", b"c", b"d"]
    paused = server.asked("/a.mp4")[0].time_s
    assert all(request.time_s - paused >= 2 for request in server.requests[1:])


def test_a_server_that_asks_to_come_back_much_later_is_unreachable_at_once(server: FileServer, scratch: Path) -> None:
    server.always("/a.mp4", Fault(status=429, headers={"Retry-After": "86400"}))
    said = problem(f"{server.url}/a.mp4", QUICK, scratch)
    assert said.reason == Reason.UNREACHABLE
    assert "answered 429 Too Many Requests; the server wants to be asked again after 86400 s" in str(said)
    assert len(server.requests) == 1


def test_a_server_that_fails_and_then_works_gives_the_file(server: FileServer, scratch: Path) -> None:
    server.next("/a.mp4", Fault(status=503), Fault(status=500))
    assert contents(rows(f"{server.url}/a.mp4"), QUICK, scratch) == [CONTENT]


def test_a_server_that_always_fails_is_unreachable_after_all_attempts(server: FileServer, scratch: Path) -> None:
    server.always("/a.mp4", Fault(status=502))
    said = problem(f"{server.url}/a.mp4", QUICK, scratch)
    assert said.reason == Reason.UNREACHABLE
    assert "answered 502 Bad Gateway; gave up after 3 attempts" in str(said)
    assert len(server.requests) == 3


def test_a_host_that_is_not_there_is_unreachable(scratch: Path) -> None:
    said = problem("http://127.0.0.1:9/a.mp4", QUICK, scratch)
    assert said.reason == Reason.UNREACHABLE
    assert "127.0.0.1:9" in str(said)


def test_a_connection_that_hangs_is_given_up_and_tried_again(server: FileServer, scratch: Path) -> None:
    server.next("/a.mp4", Fault(wait_s=60))
    assert contents(rows(f"{server.url}/a.mp4"), QUICK, scratch) == [CONTENT]
    assert len(server.requests) == 2


def test_a_connection_that_only_trickles_is_given_up_and_gone_on_with(server: FileServer, scratch: Path) -> None:
    server.next("/a.mp4", Fault(bytes_per_s=200))
    assert contents(rows(f"{server.url}/a.mp4"), QUICK, scratch) == [CONTENT]
    assert starts(server.asked("/a.mp4"))[1] > 0


def test_a_slow_connection_above_the_limit_is_waited_for(server: FileServer, scratch: Path) -> None:
    server.next("/a.mp4", Fault(bytes_per_s=400_000))
    assert contents(rows(f"{server.url}/a.mp4"), QUICK, scratch) == [CONTENT]
    assert len(server.requests) == 1


def test_patience_ends_a_download_that_goes_on_forever(server: FileServer, scratch: Path) -> None:
    server.always("/a.mp4", Fault(bytes_per_s=20_000))
    said = problem(f"{server.url}/a.mp4", QUICK.model_copy(update={"patience_s": 1.0}), scratch)
    assert said.reason == Reason.UNREACHABLE
    assert "not all there after 1 s" in str(said)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (404, Reason.MISSING),
        (410, Reason.MISSING),
        (401, Reason.FORBIDDEN),
        (403, Reason.FORBIDDEN),
        (451, Reason.FORBIDDEN),
    ],
)
def test_what_is_final_is_not_tried_again(server: FileServer, scratch: Path, status: int, reason: Reason) -> None:
    server.always("/a.mp4", Fault(status=status))
    said = problem(f"{server.url}/a.mp4", QUICK, scratch)
    assert said.reason == reason
    assert f"answered {status}" in str(said)
    assert len(server.requests) == 1


def test_redirects_are_followed_and_a_circle_is_not(server: FileServer, scratch: Path) -> None:
    server.always("/old.mp4", Fault(status=302, headers={"Location": "/a.mp4"}))
    server.always("/circle.mp4", Fault(status=301, headers={"Location": "/circle.mp4"}))
    server.always("/file.mp4", Fault(status=301, headers={"Location": "file:///etc/passwd"}))
    sources = rows(f"{server.url}/old.mp4", f"{server.url}/circle.mp4", f"{server.url}/file.mp4")
    assert contents(sources, QUICK, scratch) == [CONTENT, "unreachable", "missing"]


def test_a_page_in_place_of_a_video_is_unreadable(server: FileServer, scratch: Path) -> None:
    server.always("/a.mp4", Fault(status=200, headers={"Content-Type": "text/html; charset=utf-8"}))
    said = problem(f"{server.url}/a.mp4", QUICK, scratch)
    assert said.reason == Reason.UNREADABLE
    assert "expected a video, found text/html" in str(said)


@pytest.mark.parametrize("url", ["http://[bad/a.mp4", "http://host:port/a.mp4", "http:///a.mp4"])
def test_what_is_no_url_is_missing(url: str, scratch: Path) -> None:
    assert problem(url, QUICK, scratch).reason == Reason.MISSING


def test_a_wrong_length_is_noticed(server: FileServer, scratch: Path) -> None:
    # the server announces less in the answer's header than the rest's range says
    server.next("/a.mp4", Fault(cut_after=1000, headers={"Content-Length": "500000"}))
    assert contents(rows(f"{server.url}/a.mp4"), QUICK, scratch) == [CONTENT]
    assert starts(server.asked("/a.mp4")) == [0, 1000, 0]


def test_an_announced_checksum_is_checked(server: FileServer, scratch: Path) -> None:
    server.next("/a.mp4", Fault(headers={"Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}))
    assert contents(rows(f"{server.url}/a.mp4"), QUICK, scratch) == [CONTENT]
    assert starts(server.asked("/a.mp4")) == [0, 0]


def test_a_packed_answer_is_unpacked(server: FileServer, scratch: Path, tmp_path: Path) -> None:
    import gzip

    (tmp_path / "served/packed.mp4").write_bytes(gzip.compress(CONTENT))
    server.always("/packed.mp4", Fault(headers={"Content-Encoding": "gzip"}))
    server.next("/packed.mp4", Fault(headers={"Content-Encoding": "gzip"}, cut_after=1000))
    assert contents(rows(f"{server.url}/packed.mp4"), QUICK, scratch) == [CONTENT]
    assert all(request.headers["accept-encoding"] == "identity" for request in server.requests)


def test_a_source_of_several_rows_is_fetched_once(server: FileServer, scratch: Path) -> None:
    url = f"{server.url}/a.mp4"
    assert contents(rows(url, "/dev/null", url, url), QUICK, scratch) == [CONTENT, b"", CONTENT, CONTENT]
    assert len(server.requests) == 1


def test_results_come_in_the_order_of_the_rows(server: FileServer, scratch: Path, tmp_path: Path) -> None:
    names = [f"{number}.mp4" for number in range(12)]
    for number, name in enumerate(names):
        (tmp_path / "served" / name).write_bytes(b"%d" % number)
        server.next(f"/{name}", Fault(wait_s=0.1 if number % 3 == 0 else 0))
    sources = rows(*(f"{server.url}/{name}" for name in names))
    assert contents(sources, QUICK, scratch) == [b"%d" % number for number in range(12)]


def test_closing_ends_what_is_under_way(server: FileServer, scratch: Path, tmp_path: Path) -> None:
    (tmp_path / "served/b.mp4").write_bytes(CONTENT)
    server.always("/b.mp4", Fault(wait_s=60))
    threads = threading.active_count()
    settings = QUICK.model_copy(update={"stall_s": 60.0})
    videos = fetched(rows(f"{server.url}/a.mp4", f"{server.url}/b.mp4"), settings, scratch, LocalPace())
    assert next(videos).problem is None
    videos.close()  # type: ignore[attr-defined]
    assert threading.active_count() <= threads + 2  # two of the server's own may still be on their way out
    assert "gavt-fetch" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_what_is_in_the_store_is_not_fetched_again(
    kind: str, server: FileServer, scratch: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    store = str(tmp_path / "store") if kind == "folder" else request.getfixturevalue("s3_bucket") + "/store"
    settings = QUICK.model_copy(update={"store": store})
    server.next("/a.mp4", Fault(cut_after=1000))
    for _ in range(2):
        assert contents(rows(f"{server.url}/a.mp4"), settings, scratch) == [CONTENT]
        assert len(server.requests) == 2
    kept = [file for file in storage.list_files(store) if "/partial/" not in file.url]
    assert [file.size for file in kept] == [len(CONTENT)]
    assert kept[0].url.endswith(".mp4")
    assert len(storage.list_files(store)) == 1


def test_a_killed_download_is_gone_on_with_in_the_store(server: FileServer, scratch: Path, tmp_path: Path) -> None:
    settings = QUICK.model_copy(update={"store": str(tmp_path / "store")})
    url = f"{server.url}/a.mp4"
    server.next("/a.mp4", Fault(bytes_per_s=200_000))
    program = (
        "import sys, json; from pathlib import Path\n"
        "from cluster.pace import LocalPace\n"
        "from pipeline.prepare.fetch.fetched import fetched\n"
        "from pipeline.prepare.fetch.settings import FetchSettings\n"
        "from pipeline.prepare.manifests.row import VideoRow\n"
        "list(fetched([VideoRow('v', sys.argv[1])], FetchSettings(**json.loads(sys.argv[2])), Path(sys.argv[3]),"
        " LocalPace()))\n"
    )
    own = tmp_path / "own"
    own.mkdir()
    command = [sys.executable, "-c", program, url, json.dumps(settings.model_dump()), str(own)]
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}) as process:
        while server.sent["/a.mp4"] < 100_000:
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    there = sum(path.stat().st_size for path in (tmp_path / "store").rglob("content"))
    assert there > 0
    assert contents(rows(url), settings, scratch) == [CONTENT]
    assert starts(server.asked("/a.mp4")) == [0, there]


def test_two_that_want_the_same_file_for_the_store_fetch_it_once(
    server: FileServer, scratch: Path, tmp_path: Path
) -> None:
    settings = QUICK.model_copy(update={"store": str(tmp_path / "store")})
    server.next("/a.mp4", Fault(bytes_per_s=1_000_000))
    results: list[bytes | str] = []
    threads = [
        threading.Thread(target=lambda: results.extend(contents(rows(f"{server.url}/a.mp4"), settings, scratch)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [CONTENT] * 3
    assert len(server.requests) == 1


def test_a_store_that_cannot_be_written_is_one_sentence(server: FileServer, scratch: Path, tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file")
    settings = QUICK.model_copy(update={"store": str(tmp_path / "store")})
    with pytest.raises(StorageError, match=r"store.*: can't write a download: "):
        contents(rows(f"{server.url}/a.mp4"), settings, scratch)


def test_cookies_are_sent_to_their_host_only(server: FileServer, scratch: Path, tmp_path: Path) -> None:
    cookies = tmp_path / "cookies.txt"
    cookies.write_text(
        "# Netscape HTTP Cookie File\n"
        "127.0.0.1\tFALSE\t/\tFALSE\t0\tsession\tsec=ret\n"
        ".example.com\tTRUE\t/\tFALSE\t0\tsession\tother\n"
    )
    settings = QUICK.model_copy(update={"cookies": str(cookies), "user_agent": "a browser"})
    assert contents(rows(f"{server.url}/a.mp4"), settings, scratch) == [CONTENT]
    assert server.requests[0].headers["cookie"] == "session=sec=ret"
    assert server.requests[0].headers["user-agent"] == "a browser"


def test_a_file_that_holds_no_cookies_is_said(server: FileServer, scratch: Path, tmp_path: Path) -> None:
    (tmp_path / "cookies.json").write_text("{}")
    for name, found in (("cookies.json", "expected a Netscape cookies.txt"), ("none.txt", "can't read it")):
        settings = QUICK.model_copy(update={"cookies": str(tmp_path / name)})
        with pytest.raises(SettingsError, match=f"fetch.cookies: .*{found}"):
            contents(rows(f"{server.url}/a.mp4"), settings, scratch)


def test_no_host_is_asked_more_often_than_it_may(server: FileServer, scratch: Path, tmp_path: Path) -> None:
    for number in range(8):
        (tmp_path / f"served/{number}.mp4").write_bytes(b"x")
    settings = QUICK.model_copy(update={"per_host_rate_hz": 5.0, "ahead": 8})
    begun = time.monotonic()
    assert contents(rows(*(f"{server.url}/{n}.mp4" for n in range(8))), settings, scratch) == [b"x"] * 8
    for number, request in enumerate(server.requests):
        assert request.time_s - begun >= number / 5
