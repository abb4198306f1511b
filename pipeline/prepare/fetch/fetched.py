"""Videos brought to where they can be decoded, a few ahead of the one that is decoded."""

import asyncio
import logging
import os
import shutil
import tempfile
import threading
import traceback
from collections.abc import Coroutine, Generator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from cluster.errors import StorageError, UserError
from cluster.masking import mask_url, mask_urls
from cluster.os_errors import why
from cluster.pace import Pace
from pipeline.errors import MediaError
from pipeline.prepare.fetch.page_video import download_page, has_yt_dlp
from pipeline.prepare.fetch.partial_file import PartialFile
from pipeline.prepare.fetch.settings import FetchSettings
from pipeline.prepare.fetch.sources import YOUTUBE, SourceKind, kind_of
from pipeline.prepare.fetch.store import Store
from pipeline.prepare.fetch.web_client import WebClient
from pipeline.prepare.fetch.web_file import IsPageError, download
from pipeline.prepare.fetch.youtube8m import youtube_id
from pipeline.prepare.manifests.row import VideoRow
from pipeline.reasons import Reason

_log = logging.getLogger(__name__)
_logged: set[str] = set()


@dataclass(frozen=True)
class Fetched:
    """A row's video.

    Attributes:
        place: path or `s3://` URL where its bytes lie; None where they could not be brought.
        problem: why not, without the secrets of URLs.
    """

    row: VideoRow
    place: str | None
    problem: MediaError | None = None


def check_fetchable(rows: Sequence[VideoRow]) -> None:
    """See whether this installation can fetch such rows at all.

    Raises:
        UserError: some are ids, and yt-dlp, which knows what to do with them, is not installed.
    """
    if has_yt_dlp():
        return
    for row in rows:
        if kind_of(row.source) in (SourceKind.YOUTUBE, SourceKind.YOUTUBE_8M):
            raise UserError(f"{row.source}: downloading by id needs yt-dlp, found none: pip install 'gavt[download]'")


def fetched(
    rows: Sequence[VideoRow], settings: FetchSettings, scratch: Path, pace: Pace
) -> Generator[Fetched, None, None]:
    """The rows' videos in order, `settings.ahead` of them fetched at once.

    A file that is not kept in a store is removed when the next row is asked for (or, where several rows have the same
    source, after the last of these). Local files and object storage are read where they are. Closing the generator ends
    everything that is under way.

    Args:
        scratch: an existing local folder for downloads.
        pace: how often each host may be asked; shared with the other workers.

    Raises:
        UserError: ids without yt-dlp, a wrong file of cookies.
        StorageError: the scratch folder or the store can't be written.
    """
    check_fetchable(rows)
    last_use = {row.source: index for index, row in enumerate(rows) if kind_of(row.source) is not SourceKind.PLACE}
    if not last_use:
        yield from (Fetched(row, row.source) for row in rows)
        return
    with (
        tempfile.TemporaryDirectory(prefix="fetch-", dir=scratch) as folder,
        _Downloads(settings, Path(folder), pace) as downloads,
    ):
        for index, row in enumerate(rows):
            if row.source not in last_use:
                yield Fetched(row, row.source)
                continue
            downloads.begin(row.source)
            coming = [later.source for later in rows[index + 1 :] if later.source in last_use]
            downloads.begin_ahead(coming, settings.ahead)
            result = downloads.wait_for(row)
            downloads.begin_ahead(coming, settings.ahead)
            yield result
            if last_use[row.source] == index:
                downloads.forget(row.source)


def _unexpected(error: Exception) -> str:
    """A fault of gavt or of a library as a sentence, with its place; the first of each place is logged with all of its
    traceback, so that somebody can mend it."""
    frames = traceback.extract_tb(error.__traceback__)
    place = next((f"{os.path.basename(frame.filename)}:{frame.lineno}" for frame in reversed(frames)), "nowhere")
    said = f"fetching raised {type(error).__name__} at {place}: {' '.join(mask_urls(str(error)).split())}"
    if place not in _logged:
        _logged.add(place)
        trace = "".join(traceback.format_exception(error))
        _log.error("%s; the row counts as failed, and the work goes on\n%s", said, mask_urls(trace))
    return said


class _Downloads:
    """Downloads in a thread with an event loop of its own."""

    def __init__(self, settings: FetchSettings, scratch: Path, pace: Pace) -> None:
        self._client = WebClient(settings, pace)
        self._store = Store(settings.store, scratch)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="gavt-fetch", daemon=True)
        self._scratch = scratch
        self._places: dict[str, Future[str]] = {}
        self._unread: set[str] = set()

    def __enter__(self) -> "_Downloads":
        self._thread.start()
        try:
            self._do(self._client.__aenter__()).result()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._do(self._stop()).result()
        self._end()

    def begin(self, source: str) -> None:
        """Fetch a source, unless that was begun before."""
        if source not in self._places:
            self._places[source] = self._do(self._fetch(source))
            self._unread.add(source)

    def begin_ahead(self, sources: Sequence[str], most: int) -> None:
        """Fetch the next of these, so that `most` are there or under way that nobody waited for yet."""
        for source in sources:
            if len(self._unread) >= most:
                return
            self.begin(source)

    def wait_for(self, row: VideoRow) -> Fetched:
        """The row's video, when it is there or can't be had."""
        self._unread.discard(row.source)
        try:
            return Fetched(row, self._places[row.source].result())
        except MediaError as error:
            # as a whole first: spaces and quotes in it are where a URL in a text ends
            said = str(error).replace(row.source, mask_url(row.source))
            return Fetched(row, None, MediaError(error.reason, mask_urls(said)))
        except UserError:
            raise  # not this row's fault
        except OSError as error:
            place = error.filename or self._scratch
            raise StorageError(f"{place}: can't write a download: {why(error)}") from error
        except Exception as error:  # what one server answered must not end the work on thousands of others
            return Fetched(row, None, MediaError(Reason.ERROR, _unexpected(error)))

    def forget(self, source: str) -> None:
        """The source's file is not needed any more."""
        del self._places[source]
        self._store.release(source)

    async def _fetch(self, source: str) -> str:
        place = await asyncio.to_thread(self._store.find, source)
        if place is not None:
            return place
        async with self._store.partial(source) as folder:
            place = await asyncio.to_thread(self._store.find, source)  # somebody may have brought it meanwhile
            if place is not None:
                return place
            try:
                content = await self._download(source, folder)
            except MediaError as error:
                if not Reason(error.reason).transient:
                    shutil.rmtree(folder)
                raise
            return await asyncio.to_thread(self._store.keep, source, folder, content)

    async def _download(self, source: str, folder: Path) -> Path:
        kind = kind_of(source)
        settings = self._client.settings
        if kind is SourceKind.WEB:
            part = PartialFile(folder)
            try:
                await download(self._client, source, part)
                return part.path
            except IsPageError as page:
                if not has_yt_dlp():
                    found = f"expected a video, found a page ({page}), and no yt-dlp (gavt[download]) to look into it"
                    raise MediaError(Reason.UNREADABLE, found) from None
                return await download_page(self._client, source, folder)
        name = source.removeprefix(YOUTUBE) if kind is SourceKind.YOUTUBE else await youtube_id(self._client, source)
        return await download_page(self._client, settings.youtube_url + name, folder)

    async def _stop(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._client.__aexit__(None, None, None)
        await self._loop.shutdown_default_executor()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, Any]) -> "Future[Any]":
        return asyncio.run_coroutine_threadsafe(work, self._loop)
