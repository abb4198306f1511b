"""A video out of a page or by its id, through yt-dlp in a process of its own."""

import asyncio
import importlib.util
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from yarl import URL

from cluster.scratch import scratch_folder
from pipeline.errors import MediaError
from pipeline.prepare.fetch.addresses import inside_of
from pipeline.prepare.fetch.patience import PassingError
from pipeline.prepare.fetch.settings import FetchSettings
from pipeline.prepare.fetch.web_client import WebClient
from pipeline.prepare.fetch.web_file import check_size
from pipeline.reasons import Reason

_LOOK_EVERY_S = 1.0
_FATES = {"missing": Reason.MISSING, "forbidden": Reason.FORBIDDEN, "unreadable": Reason.UNREADABLE}


def has_yt_dlp() -> bool:
    """Whether the extra `download` is installed."""
    return importlib.util.find_spec("yt_dlp") is not None


async def download_page(client: WebClient, url: str, folder: Path) -> Path:
    """The video of the page `url`, somewhere below `folder`; partial files that lie there are gone on with.

    Raises:
        MediaError: `missing`, `forbidden`, `unreadable` (there is no video that yt-dlp knows), `unreachable`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    patience = client.patience()

    async def attempt() -> Path:
        await patience.turn(url)
        # not below `folder`, which may be a store that others read, and keep what a killed process left in it
        with scratch_folder("gavt-cookies-") as private:
            options = _options(client.settings, folder, private)
            task = {"url": url, "options": options, "inside": await _inside(client.settings, url)}
            answer = await _call(task, patience.left_s, lambda: check_size(_bytes_below(folder), client.settings))
        if "path" in answer:
            return Path(answer["path"])
        fate, message = answer["fate"], answer["message"]
        if fate in ("passing", "busy"):
            raise PassingError(f"yt-dlp: {message}", busy=fate == "busy")
        raise MediaError(_FATES.get(fate, Reason.UNREACHABLE), f"yt-dlp: {message}")

    return await patience.over(url, attempt, lambda: _bytes_below(folder))


def _options(settings: FetchSettings, folder: Path, private: Path) -> dict[str, Any]:
    low = f"[height<=?{settings.max_height}]"
    merges = shutil.which("ffmpeg") is not None
    options: dict[str, Any] = {
        "format": f"bv*{low}+ba/b{low}/wv*+ba/w/b*" if merges else f"b{low}/w/b*",
        "paths": {"home": str(folder)},
        "outtmpl": {"default": "video.%(ext)s"},
        "quiet": True,
        "noprogress": True,
        "color": "never",
        "noplaylist": True,
        "playlist_items": "1",
        "continuedl": True,
        "updatetime": False,
        "retries": 1,
        "extractor_retries": 1,
        "fragment_retries": settings.attempts,
        "skip_unavailable_fragments": False,
        "socket_timeout": settings.stall_s,
    }
    if settings.cookies is not None:
        # yt-dlp writes its cookies back at the end, and others read the same file
        options["cookiefile"] = str(shutil.copy(settings.cookies, private / "cookies.txt"))
    if settings.user_agent is not None:
        options["http_headers"] = {"User-Agent": settings.user_agent}
    return options | settings.yt_dlp_options


async def _inside(settings: FetchSettings, url: str) -> int | None:
    """How far inside a network what belongs to the page may lie; None is anywhere."""
    return None if settings.internal_redirects else int(await inside_of(URL(url).host or ""))


async def _call(task: dict[str, Any], deadline_s: float, look: Callable[[], None]) -> dict[str, str]:
    """Let the process do a task; it is ended with all that it started after `deadline_s` seconds, when `look`, which is
    called each second, raises something, or when nobody waits for it any more."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "pipeline.prepare.fetch.yt_dlp_process",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        process.stdin.write(json.dumps(task).encode() + b"\n")
        complaints = asyncio.ensure_future(process.stderr.read())
        answered = asyncio.ensure_future(process.stdout.readline())
        until = time.monotonic() + max(1.0, deadline_s)
        while not (await asyncio.wait([answered], timeout=_LOOK_EVERY_S))[0]:
            if time.monotonic() > until:
                return {"fate": "broken", "message": f"took longer than {deadline_s:.0f} s"}
            look()
        said = answered.result()
        look()
        if not said:
            last = (await complaints).decode(errors="replace").strip().rpartition("\n")[2]
            return {"fate": "broken", "message": f"its process ended without an answer: {last[-300:]}"}
        answer: dict[str, str] = json.loads(said)
        return answer
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _bytes_below(folder: Path) -> int:
    total = 0
    for file in folder.rglob("*"):
        with suppress(FileNotFoundError):  # parts are put together and removed meanwhile
            total += file.stat().st_size if file.is_file() else 0
    return total
