"""The process in which yt-dlp downloads one video: `python -m pipeline.prepare.fetch.yt_dlp_process`.

It reads one JSON object from its standard input, `{"url", "options", "inside"}`, with options of `yt_dlp.YoutubeDL`
and how far inside a network its connections may go (`addresses.Inside`; null is anywhere), and writes
one to its standard output: `{"path"}` of the video, or `{"fate", "message"}` with one of the fates below. It ends when
its standard input does, so that nothing goes on after its parent.
"""

import json
import os
import re
import socket
import sys
import threading
from typing import Any, Literal
from urllib.request import getproxies

from pipeline.prepare.fetch.addresses import Inside, inside, too_far_inside

Fate = Literal["missing", "forbidden", "unreadable", "passing", "busy", "broken"]
"""`passing`: worth another attempt; `busy`: so is `passing`, but the server wants to be left alone; `broken`: neither
the video's fault nor worth another attempt now."""

_LONGEST_MESSAGE = 2000
_STATUS: dict[int, Fate] = {
    401: "forbidden",
    402: "forbidden",
    403: "forbidden",
    404: "missing",
    408: "passing",
    410: "missing",
    425: "passing",
    429: "busy",
    451: "forbidden",
}
_SENTENCES: tuple[tuple[str, Fate], ...] = (
    (r"requested format", "broken"),
    (r"incomplete youtube id", "missing"),
    (r"not a bot|rate.?limit|try again later|too many requests", "busy"),
    (
        r"timed? ?out|connection|reset by peer|incomplete|temporary failure|bytes read|too short|did not get any data",
        "passing",
    ),
    (
        r"private|sign in|log ?in|members|confirm your age|age.restrict|password|payment|purchase|\brent\b|premium",
        "forbidden",
    ),
    (r"in your country|geo.?restrict|from your location|copyright|\bdrm\b", "forbidden"),
    (r"unavailable|no longer|removed|deleted|terminated|does ?n.t exist|does not exist|not found", "missing"),
    (r"isn.t available|not available|no such", "missing"),
    (r"unsupported url|no video|no suitable", "unreadable"),
)
"""What error messages of yt-dlp and of sites say, in this order."""


class _Quiet:
    """A logger that says nothing: of errors, the exceptions that follow say the same."""

    def debug(self, message: str) -> None:
        """Nobody reads it."""

    info = warning = error = debug


def fate_of(error: BaseException) -> Fate:
    """What an error of yt-dlp means for the video."""
    from yt_dlp.networking.exceptions import HTTPError, TransportError
    from yt_dlp.utils import GeoRestrictedError, UnsupportedError

    chain = _chain(error)
    for one in chain:
        if isinstance(one, HTTPError):
            if one.status == 403 and "googlevideo.com" in str(one.response.url):
                return "passing"  # YouTube's links expire and are refused at random; new ones are made
            return _fate_of_status(one.status)
    if any(isinstance(one, TransportError | ConnectionError | TimeoutError) for one in chain):
        return "passing"
    if any(isinstance(one, GeoRestrictedError) for one in chain):
        return "forbidden"
    if any(isinstance(one, UnsupportedError) for one in chain):
        return "unreadable"
    text = str(error).lower()
    if status := re.search(r"http error (\d{3})", text):  # yt-dlp's last attempt tells the status in words only
        return _fate_of_status(int(status[1]))
    return next((fate for pattern, fate in _SENTENCES if re.search(pattern, text)), "broken")


def _fate_of_status(status: int) -> Fate:
    return "passing" if status >= 500 else _STATUS.get(status, "forbidden")


def _chain(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    waiting: list[Any] = [error]
    while waiting:
        one = waiting.pop(0)
        if isinstance(one, BaseException) and one not in chain:
            chain.append(one)
            waiting += [(getattr(one, "exc_info", None) or (None, None))[1], getattr(one, "cause", None)]
            waiting += [one.__cause__, one.__context__]
    return chain


def _download(url: str, options: dict[str, Any]) -> dict[str, str]:
    import yt_dlp
    from yt_dlp.utils import match_filter_func

    # a live stream has no end
    options = {"logger": _Quiet(), "match_filter": match_filter_func("!is_live"), **options}
    try:
        with yt_dlp.YoutubeDL(options) as downloader:
            about = downloader.extract_info(url, download=True)
    except yt_dlp.utils.YoutubeDLError as error:
        return {"fate": fate_of(error), "message": _plain(str(error))}
    while about and about.get("entries"):
        about = next(iter(about["entries"]))
    downloads = (about or {}).get("requested_downloads")
    if not downloads:
        return {"fate": "broken", "message": "yt-dlp gave no file, as for a live stream"}
    return {"path": downloads[0]["filepath"]}


def _plain(message: str) -> str:
    """yt-dlp's message in one line, without the advice to report a bug."""
    line = " ".join(message.split()).removeprefix("ERROR: ")
    return line.split("; please report this issue on")[0][:_LONGEST_MESSAGE]


def _stay_outside(most: Inside) -> None:
    """Refuse connections that go further inside a network than `most`: what a page names may be any address. Not where
    a proxy makes the connections: its own address is the only one that is looked up here."""
    look_up = socket.getaddrinfo

    def look_up_bounded(*words: Any, **names: Any) -> Any:
        found = look_up(*words, **names)
        for entry in found:
            if inside(str(entry[4][0])) > most:
                raise socket.gaierror(socket.EAI_NONAME, too_far_inside(f"{words[0]} ({entry[4][0]})"))
        return found

    socket.getaddrinfo = look_up_bounded


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


def main() -> None:
    """Do what standard input says."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a program that yt-dlp calls prints must not get into the answer
    task = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if task["inside"] is not None and not (getproxies() or task["options"].get("proxy")):
        _stay_outside(Inside(task["inside"]))
    answers.write(json.dumps(_download(task["url"], task["options"])) + "\n")
    answers.flush()
    os._exit(0)  # the other thread still waits for standard input


if __name__ == "__main__":
    main()
