"""A file over HTTP, gone on with where it was cut off."""

import time
import zlib
from collections.abc import Iterator
from typing import Any

import aiohttp

from pipeline.errors import MediaError
from pipeline.prepare.fetch.partial_file import PartialFile
from pipeline.prepare.fetch.patience import PassingError, Patience
from pipeline.prepare.fetch.settings import FetchSettings
from pipeline.prepare.fetch.sources import host_of, names_a_media_file
from pipeline.prepare.fetch.web_client import NoSuchRangeError, WebClient
from pipeline.reasons import Reason

_UNPACKED_AT_ONCE = 1 << 20
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
        MediaError: `missing`, `forbidden`, `unreachable`, `too_large`; `unreadable` where a page came instead of a
            video.
    """
    patience = client.patience()
    await patience.over(url, lambda: _attempt(client, url, part, patience), lambda: part.bytes)


async def _attempt(client: WebClient, url: str, part: PartialFile, patience: Patience) -> None:
    if not part.whole:
        try:
            async with client.ask(url, patience, part.wish()) as answer:
                _check_kind(url, answer)
                part.accept(answer.status, answer.headers)
                check_size(part.size or 0, client.settings)
                await _receive(client, answer, part, patience)
        except NoSuchRangeError:
            part.restart()
            raise
    part.check()


async def _receive(client: WebClient, answer: aiohttp.ClientResponse, part: PartialFile, patience: Patience) -> None:
    unpack = _unpacker(answer)
    settings = client.settings
    slowest = settings.min_bytes_per_s * settings.stall_s
    since, came, there = time.monotonic(), 0, part.bytes
    with part.path.open("ab") as file:
        async for piece in answer.content.iter_any():
            for content in _unpacked(piece, unpack):
                file.write(content)
                there += len(content)
                check_size(there, settings)
            came += len(piece)
            if time.monotonic() - since > settings.stall_s:
                if came < slowest:
                    raise PassingError(f"slower than {settings.min_bytes_per_s:g} bytes/s")
                since, came = time.monotonic(), 0
            if patience.left_s < 0:
                raise MediaError(Reason.UNREACHABLE, f"not all there after {settings.patience_s:g} s")
    if unpack is not None and not unpack.eof:
        raise PassingError("its packed content ends too early")


def _unpacked(piece: bytes, unpack: Any) -> Iterator[bytes]:
    """What a piece unpacks to, a little at a time: a kilobyte may hold a megabyte of zeros."""
    if unpack is None:
        yield piece
        return
    more = True
    while more:
        try:
            content = unpack.decompress(piece, _UNPACKED_AT_ONCE)
        except zlib.error as error:
            raise PassingError(f"its packed content is damaged ({error})") from None
        yield content
        piece = unpack.unconsumed_tail
        more = bool(piece) or len(content) == _UNPACKED_AT_ONCE


def check_size(size: int, settings: FetchSettings) -> None:
    """See that a download of so many bytes may be kept.

    Raises:
        MediaError: `too_large`.
    """
    if size > settings.max_gb * 1e9:
        found = f"expected at most {settings.max_gb:g} GB (fetch.max_gb), found {size / 1e9:.3g} GB or more"
        raise MediaError(Reason.TOO_LARGE, found)


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
