"""The ids of YouTube-8M: four characters that stand for a video on YouTube."""

import re

from pipeline.errors import MediaError
from pipeline.prepare.fetch.sources import YOUTUBE_8M
from pipeline.prepare.fetch.web_client import WebClient
from pipeline.reasons import Reason

_MOST_ANSWER = 1 << 16
_ID = re.compile(r"[A-Za-z0-9]{4}")
_ANSWER = re.compile(r'i\("(\w{4})","([\w-]{11})"\)')


async def youtube_id(client: WebClient, source: str) -> str:
    """YouTube's id for a source `youtube8m:ABCD`.

    Raises:
        MediaError: `missing`, there is no such video any more; `unreachable`.
    """
    name = source.removeprefix(YOUTUBE_8M)
    if not _ID.fullmatch(name):
        raise MediaError(Reason.MISSING, f"expected an id of 4 letters and digits, found {name!r}")
    url = f"{client.settings.youtube8m_url.rstrip('/')}/{name[:2]}/{name}.js"
    patience = client.patience()

    async def ask() -> str:
        async with client.ask(url, patience, {}) as answer:
            return (await answer.content.read(_MOST_ANSWER)).decode(errors="replace")

    try:
        text = await patience.over(url, ask, lambda: 0)
    except MediaError as error:
        if error.reason == Reason.FORBIDDEN:  # the bucket answers 403 for what it does not have
            raise MediaError(Reason.MISSING, f"YouTube-8M has no video {name} any more ({error})") from None
        raise
    found = _ANSWER.search(text)
    if not found or found[1] != name:
        raise MediaError(Reason.MISSING, f"YouTube-8M names no video for {name}: {' '.join(text.split())[:80]!r}")
    return found[2]
