"""Pages and ids through the real yt-dlp, against a server on this machine."""

import importlib.util
import os
import stat
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster.errors import UserError
from cluster.pace import LocalPace
from faulty_proxy import Fault, FileServer
from pipeline.errors import MediaError
from pipeline.prepare.fetch import page_video
from pipeline.prepare.fetch.fetched import check_fetchable, fetched
from pipeline.prepare.fetch.settings import FetchSettings
from pipeline.prepare.fetch.yt_dlp_process import fate_of
from pipeline.prepare.manifests.row import VideoRow
from pipeline.reasons import Reason

CONTENT = np.random.default_rng(0).bytes(300_000)
PAGE = b"<html><head><title>A film</title></head><body><video src='/film.mp4'></video></body></html>"
QUICK = FetchSettings(attempts=2, stall_s=3.0, patience_s=60, yt_dlp_options={"cachedir": False})
VIDEO_ID = "dQw4w9WgXcQ"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FileServer]:
    """A server with a page and the film on it."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "film.mp4").write_bytes(CONTENT)
    (folder / "page.html").write_bytes(PAGE)
    (folder / "empty.html").write_bytes(b"<html><body>nothing here</body></html>")
    with FileServer(folder) as running:
        yield running


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """An empty folder, which must be empty again at the end."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    yield folder
    assert os.listdir(folder) == []


def fetch(source: str, settings: FetchSettings, scratch: Path) -> bytes | MediaError:
    """The source's bytes, or why there are none."""
    with closing(fetched([VideoRow("v", source)], settings, scratch, LocalPace())) as videos:
        result = next(videos)
        if result.problem is not None:
            return result.problem
        return Path(str(result.place)).read_bytes()


def test_a_page_gives_its_video_with_cookies_and_limits_passed_on(
    server: FileServer, scratch: Path, tmp_path: Path
) -> None:
    cookies = tmp_path / "cookies.txt"
    text = "# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t0\tsession\tsecret\n"
    cookies.write_text(text)
    settings = QUICK.model_copy(update={"cookies": str(cookies), "user_agent": "a browser"})
    assert fetch(f"{server.url}/page.html", settings, scratch) == CONTENT
    film = server.asked("/film.mp4")[-1]
    assert film.headers["cookie"] == "session=secret"
    assert film.headers["user-agent"] == "a browser"
    assert cookies.read_text() == text


def test_cookies_lie_where_only_this_user_reads_them_and_not_in_a_store(
    server: FileServer, scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    cookies = tmp_path / "cookies.txt"
    cookies.write_text("# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t0\tsession\tsecret\n")
    seen: list[Path] = []

    def look(task: Any, *more: Any) -> Any:
        assert [
            path for path in (tmp_path / "store").rglob("*") if path.is_file() and b"secret" in path.read_bytes()
        ] == []
        seen.append(Path(task["options"]["cookiefile"]))
        assert stat.S_IMODE(seen[-1].parent.stat().st_mode) == 0o700
        return call(task, *more)

    call = page_video._call
    monkeypatch.setattr(page_video, "_call", look)
    settings = QUICK.model_copy(update={"cookies": str(cookies), "store": str(tmp_path / "store")})
    assert fetch(f"{server.url}/page.html", settings, scratch) == CONTENT
    assert seen
    assert not any(path.parent.exists() for path in seen)


def test_a_download_that_was_cut_off_is_gone_on_with(server: FileServer, scratch: Path) -> None:
    server.next("/film.mp4", *[Fault(cut_after=100_000)] * 3)
    settings = QUICK.model_copy(update={"attempts": 4})
    assert fetch(f"{server.url}/page.html", settings, scratch) == CONTENT
    assert server.sent["/film.mp4"] < 2 * len(CONTENT)


@pytest.mark.parametrize(
    ("fault", "reason", "said"),
    [
        (Fault(status=404), Reason.MISSING, "404"),
        (Fault(status=403), Reason.FORBIDDEN, "403"),
        (Fault(status=503), Reason.UNREACHABLE, "gave up after 2 attempts"),
        (Fault(status=429), Reason.UNREACHABLE, "gave up after 2 attempts"),
    ],
)
def test_why_a_film_cannot_be_had_is_said(
    server: FileServer, scratch: Path, fault: Fault, reason: Reason, said: str
) -> None:
    server.always("/film.mp4", fault)
    found = fetch(f"{server.url}/page.html", QUICK, scratch)
    assert isinstance(found, MediaError)
    assert found.reason == reason
    assert said in str(found)
    assert "\n" not in str(found)
    assert "report this issue" not in str(found)


def test_a_video_of_a_page_that_is_larger_than_the_limit_is_given_up(server: FileServer, scratch: Path) -> None:
    for bytes_per_s in (None, 120_000.0):  # there at once, and given up on the way
        server.next("/film.mp4", Fault(), Fault(bytes_per_s=bytes_per_s))
        found = fetch(f"{server.url}/page.html", QUICK.model_copy(update={"max_gb": 0.0001}), scratch)
        assert isinstance(found, MediaError)
        assert found.reason == Reason.TOO_LARGE


def test_a_page_without_a_video_is_unreadable(server: FileServer, scratch: Path) -> None:
    found = fetch(f"{server.url}/empty.html", QUICK, scratch)
    assert isinstance(found, MediaError)
    assert found.reason == Reason.UNREADABLE
    assert "Unsupported URL" in str(found)


def test_ids_of_youtube_and_youtube_8m_lead_to_their_pages(server: FileServer, scratch: Path, tmp_path: Path) -> None:
    (tmp_path / f"served/watch-{VIDEO_ID}").write_bytes(PAGE)
    server.always(f"/watch-{VIDEO_ID}", Fault(headers={"Content-Type": "text/html"}))
    folder = tmp_path / "served/j/i/dq"
    folder.mkdir(parents=True)
    (folder / "dqw4.js").write_text(f'i("dqw4","{VIDEO_ID}");')
    updates = {"youtube_url": f"{server.url}/watch-", "youtube8m_url": f"{server.url}/j/i"}
    settings = QUICK.model_copy(update=updates)
    assert fetch(f"youtube:{VIDEO_ID}", settings, scratch) == CONTENT
    assert fetch("youtube8m:dqw4", settings, scratch) == CONTENT
    server.always("/j/i/ab/abcd.js", Fault(status=403))
    for source in ("youtube8m:abcd", "youtube8m:dqXX", "youtube8m:toolong"):
        found = fetch(source, settings, scratch)
        assert isinstance(found, MediaError)
        assert found.reason == Reason.MISSING


def test_closing_ends_the_process_of_yt_dlp(server: FileServer, scratch: Path) -> None:
    server.always("/film.mp4", Fault(wait_s=60))
    settings = QUICK.model_copy(update={"stall_s": 60.0})
    sources = (f"{server.url}/film.mp4?whole", "/here", f"{server.url}/page.html")
    videos = fetched([VideoRow(source, source) for source in sources], settings, scratch, LocalPace())
    assert next(videos).problem is None
    while not server.asked("/film.mp4"):
        time.sleep(0.05)
    videos.close()  # type: ignore[attr-defined]
    assert children_named("yt_dlp_process") == []


def test_a_deadline_ends_it_as_well(server: FileServer, scratch: Path) -> None:
    server.always("/film.mp4", Fault(bytes_per_s=2_000))
    found = fetch(f"{server.url}/page.html", QUICK.model_copy(update={"patience_s": 4.0}), scratch)
    assert isinstance(found, MediaError)
    assert found.reason == Reason.UNREACHABLE
    assert "took longer than" in str(found)
    assert children_named("yt_dlp_process") == []


def test_without_yt_dlp_ids_are_refused_before_any_work_and_pages_are_unreadable(
    server: FileServer, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        page_video.importlib.util, "find_spec", lambda name, *more: None if name == "yt_dlp" else find(name, *more)
    )
    for source in (f"youtube:{VIDEO_ID}", "youtube8m:abcd"):
        with pytest.raises(UserError, match=r"needs yt-dlp, found none: pip install 'gavt\[download\]'"):
            check_fetchable([VideoRow("a", f"{server.url}/film.mp4"), VideoRow("b", source)])
        with pytest.raises(UserError, match="needs yt-dlp"):
            fetch(source, QUICK, scratch)
    found = fetch(f"{server.url}/page.html", QUICK, scratch)
    assert isinstance(found, MediaError)
    assert found.reason == Reason.UNREADABLE
    assert "expected a video, found a page (text/html)" in str(found)


@pytest.mark.parametrize(
    ("message", "fate"),
    [
        ("[youtube] KqM_GGR5lig: Video unavailable. This video has been removed by the uploader", "missing"),
        ("[youtube] x: Video unavailable. This video is no longer available because the account was closed", "missing"),
        ("[youtube] x: Private video. Sign in if you've been granted access to this video", "forbidden"),
        ("[youtube] x: Sign in to confirm your age. This video may be inappropriate for some users.", "forbidden"),
        ("[youtube] x: Video unavailable. The uploader has not made this available in your country", "forbidden"),
        ("[youtube] x: Join this channel to get access to members-only content", "forbidden"),
        ("[youtube] x: Sign in to confirm you’re not a bot. Use --cookies for the authentication", "busy"),
        ("[youtube] x: This content isn't available, try again later. Your session has been rate-limited", "busy"),
        ("[youtube] x: Unable to download webpage: The read operation timed out", "passing"),
        ("[youtube] x: Requested format is not available. Use --list-formats", "broken"),
        ("[youtube] x: Unable to extract yt initial data; please report this issue on", "broken"),
    ],
)
def test_the_sentences_of_youtube_have_their_reasons(message: str, fate: str) -> None:
    from yt_dlp.utils import DownloadError

    assert fate_of(DownloadError(f"ERROR: {message}")) == fate


def children_named(name: str) -> list[int]:
    """Processes of this one's that run a module of that name."""
    found: list[Any] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_text()
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue  # it has ended
            if name in command and parent == os.getpid():
                found.append(int(entry.name))
    return found
