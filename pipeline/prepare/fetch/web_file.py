"""A file over HTTP, gone on with where it was cut off."""

import time
import zlib
from typing import Any

import aiohttp

from pipeline.errors import MediaError
from pipeline.prepare.fetch.partial_file import PartialFile
from pipeline.prepare.fetch.patience import PassingError, Patience
from pipeline.prepare.fetch.sources import host_of, names_a_media_file
from pipeline.prepare.fetch.web_client import NoSuchRangeError, WebClient
from pipeline.prepare.reasons import Reason

_PAGES = {
    "text/html",
    "application/xhtml+xml",
    "application/vnd.apple.mpegurl",
    "application/x-mpegurl",
    "audio/mpegurl",
    "application/dash+xml",
}


class IsPageError(Exception):
    """What lies at the URL is not a file: a page, or a playlist of pieces. `str()` is its content type."""


async def download(client: WebClient, url: str, part: PartialFile) -> None:
    """Bring all bytes of `url` into `part`.

    Raises:
        IsPageError: it is a page, which another program has to understand.
        MediaError: `missing`, `forbidden`, `unreachable`; `unreadable` where a page came instead of a video.
    """
    patience = client.patience()
    await patience.over(url, lambda: _attempt(client, url, part, patience), lambda: part.bytes)


async def _attempt(client: WebClient, url: str, part: PartialFile, patience: Patience) -> None:
    if not part.whole:
        try:
            async with client.ask(url, patience, part.wish()) as answer:
                _check_kind(url, answer)
                part.accept(answer.status, answer.headers)
                await _receive(client, answer, part, patience)
        except NoSuchRangeError:
            part.restart()
            raise
    part.check()


async def _receive(client: WebClient, answer: aiohttp.ClientResponse, part: PartialFile, patience: Patience) -> None:
    unpack = _unpacker(answer)
    settings = client.settings
    slowest = settings.min_bytes_per_s * settings.stall_s
    since, came = time.monotonic(), 0
    with part.path.open("ab") as file:
        async for piece in answer.content.iter_any():
            file.write(unpack.decompress(piece) if unpack is not None else piece)
            came += len(piece)
            if time.monotonic() - since > settings.stall_s:
                if came < slowest:
                    raise PassingError(f"slower than {settings.min_bytes_per_s:g} bytes/s")
                since, came = time.monotonic(), 0
            if patience.left_s < 0:
                raise MediaError(Reason.UNREACHABLE, f"not all there after {settings.patience_s:g} s")
    if unpack is not None and not unpack.eof:
        raise PassingError("its packed content ends too early")


def _check_kind(url: str, answer: aiohttp.ClientResponse) -> None:
    if answer.content_type not in _PAGES:
        return
    if names_a_media_file(url):
        found = f"expected a video, found {answer.content_type} at {host_of(str(answer.url))}"
        raise MediaError(Reason.UNREADABLE, found)
    raise IsPageError(answer.content_type)


def _unpacker(answer: aiohttp.ClientResponse) -> Any:
    """What undoes a packing that was not asked for; None where there is none."""
    packing = answer.headers.get("Content-Encoding", "identity").lower()
    if packing == "identity":
        return None
    if packing in ("gzip", "x-gzip", "deflate"):
        return zlib.decompressobj(zlib.MAX_WBITS | 32)
    raise MediaError(Reason.UNREADABLE, f"expected a plain file, found one packed as {packing}")
