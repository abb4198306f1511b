"""s3fs, made to survive a storage that fails for a while.

s3fs by itself tries a request again after broken connections and SlowDown, but not after 500, 502 or a plain 503, not
where it can't connect, not while it reads the parts of a large file, and without a limit in time. Here every request is
tried until it succeeds, fails for good, or patience ends, and what is read is one version of a file, whole.
"""

import asyncio
import errno
import logging
import os
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import aiohttp
from botocore.exceptions import (
    BotoCoreError,
    ChecksumError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    SSLError,
)
from botocore.exceptions import ConnectionError as BotocoreConnectionError
from botocore.parsers import ResponseParserError
from fsspec.asyn import sync, sync_wrapper
from s3fs import S3FileSystem

from cluster.errors import GaveUpError, StorageError
from cluster.s3_quick import Get, QuickS3

T = TypeVar("T")
_Account = tuple[str, Any, str] | None

PATIENCE = "GAVT_STORAGE_PATIENCE_S"
"""Variable: for how long (s) a request is tried again while it fails in ways that pass; 180 where it is not set."""
_PATIENCE_S = 180.0
_UNREACHABLE_S = 20.0  # a server that never answered is more likely a wrong address than a server that restarts
_ABORT_S = 10.0
_ATTEMPT_S = 45.0
_SLOWEST_BYTES_S = 256_000
_LONGEST_PAUSE_S = 8.0
_PART = 16 << 20
_PARTS_AT_ONCE = 4
_PIECE = 1 << 20  # bytes of a body that are taken at once
_NEWS = 64 << 10  # bytes after which a broken answer counts as progress
_MOST_PARTS = 10_000
_RESTARTS = 5
_CONNECTIONS = 64
_PASSING_STATUS = {408, 425, 429}
_PASSING_CODES = {
    "BadDigest",
    "ConditionalRequestConflict",
    "IncompleteBody",
    "InternalError",
    "OperationAborted",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "XAmzContentSHA256Mismatch",
}
_PASSING_ERRORS = (
    BotocoreConnectionError,
    HTTPClientError,
    ResponseParserError,
    IncompleteReadError,
    ChecksumError,
    FlexibleChecksumError,
    aiohttp.ClientError,
    asyncio.TimeoutError,
    asyncio.IncompleteReadError,
    ConnectionError,
    TimeoutError,
)
_UNREACHABLE = (EndpointConnectionError, ConnectTimeoutError)
_log = logging.getLogger(__name__)


class _CutOff(ConnectionError):
    """Fewer bytes came than were announced."""


def patience_s() -> float:
    """For how long a request is tried, from the variable `GAVT_STORAGE_PATIENCE_S`.

    Raises:
        StorageError: it is set to something else than a number of seconds.
    """
    text = os.environ.get(PATIENCE)
    if text is None:
        return _PATIENCE_S
    try:
        seconds = float(text)
        if not 0 <= seconds < float("inf"):
            raise ValueError
    except ValueError:
        raise StorageError(f"{PATIENCE}: expected a number of seconds, found {text!r}") from None
    return seconds


def error_code(error: BaseException) -> str | None:
    """What S3 called an error (`NoSuchKey`, `412`, …); None where the error is not an answer of the server."""
    answer = _answer(error)
    return None if answer is None else str(answer.get("Error", {}).get("Code", ""))


def is_precondition_failed(error: BaseException) -> bool:
    """Whether a condition such as `If-None-Match` or `If-Match` did not hold."""
    return error_code(error) in {"PreconditionFailed", "412"}


def is_transient(error: BaseException) -> bool:
    """Whether the same request may succeed later."""
    answer = _answer(error)
    if answer is not None:
        status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        code = error_code(error)
        return (status >= 500 and status != 501) or status in _PASSING_STATUS or code in _PASSING_CODES
    if isinstance(error, SSLError):
        return "certificate" not in str(error).lower()
    return isinstance(error, _PASSING_ERRORS)


class PatientS3FileSystem(S3FileSystem):  # type: ignore[misc]
    """S3 through s3fs, each request tried again with growing, random pauses while its failure is one that passes.

    Listings are never cached: other processes write to the same prefix.
    """

    cachable = False  # the caller knows better when an instance serves
    retries = 1  # of s3fs itself

    def __init__(self) -> None:
        super().__init__(
            use_listings_cache=False,
            config_kwargs={
                "connect_timeout": 10,
                "read_timeout": 30,
                "retries": {"total_max_attempts": 1, "mode": "standard"},
                "max_pool_connections": _CONNECTIONS,
            },
        )
        self._answered = False
        self._doubtful: set[tuple[str, str]] = set()
        self._quick = QuickS3(lambda bucket: cast("_Account", sync(self.loop, self._account, bucket)))

    async def _call_s3(self, method: str, *more: Any, **words: Any) -> Any:
        body = words.get("Body")
        patience = min(_ABORT_S, patience_s()) if method == "abort_multipart_upload" else patience_s()
        call, attempts = super()._call_s3, 0

        async def request() -> Any:
            nonlocal attempts
            attempts += 1
            return await call(method, *more, **words)

        result = await self._patiently(request, patience, len(body) if body else 0)
        if method == "create_multipart_upload" and attempts > 1:
            self._doubtful.add((words["Bucket"], words["Key"]))
        return result

    async def _put_if_absent(self, path: str, content: bytes) -> bool:
        """Write an object unless one is there; whether it was written."""
        bucket, key, _ = self.split_path(path)
        writer = secrets.token_hex(8)

        async def put() -> None:
            await super(PatientS3FileSystem, self)._call_s3(
                "put_object", Bucket=bucket, Key=key, Body=content, IfNoneMatch="*", Metadata={"writer": writer}
            )

        try:
            await self._patiently(put, patience_s(), len(content))
        except OSError as error:
            if not is_precondition_failed(error):
                raise
            # what is there may be our own: the answer was lost, and the request repeated, maybe by the library
            try:
                there = await self._call_s3("head_object", Bucket=bucket, Key=key)
            except FileNotFoundError:
                return False  # it was another's, who has removed it
            return bool(there["Metadata"].get("writer") == writer)
        return True

    put_if_absent = sync_wrapper(_put_if_absent)

    async def _exists(self, path: str) -> bool:
        try:
            await self._info(path)
        except FileNotFoundError:
            return False
        return True

    exists = sync_wrapper(_exists)

    async def _cat_file(
        self, path: str, version_id: str | None = None, start: int | None = None, end: int | None = None, **more: Any
    ) -> bytes:
        if start is not None and end is not None:
            return (await self._get_part(path, start, end))[0]
        parts: dict[int, bytes] = {}
        await self._get_parts(path, parts.__setitem__, parts.clear)
        return parts[0] if len(parts) == 1 else b"".join(parts[offset] for offset in sorted(parts))

    def get_range(self, path: str, start: int, end: int, etag: str | None = None) -> bytes:
        """Bytes `start` to `end` of an object, fewer where it ends before; of the version `etag` unless it is None.

        A broken stream goes on at the byte where it broke.
        """
        get = Get(path, start, end, etag)
        if self._quick.ask(get, patience_s()):
            self._answered = True
            return get.body.content()
        return bytes(sync(self.loop, self._go_on, get))

    def get_many(self, gets: Iterable[Get], at_once: int) -> Iterator[bytes | Exception]:
        """What `get_range` or `cat_file` would give or raise for each, `at_once` asked for at a time, in order."""
        return self._quick.ask_many(
            gets, at_once, patience_s(), lambda get: asyncio.run_coroutine_threadsafe(self._go_on(get), self.loop)
        )

    def head(self, path: str) -> tuple[int, str]:
        """Size and ETag of an object, with one request."""
        get = Get(path, method="HEAD")
        if self._quick.ask(get, patience_s()) and "etag" in get.body.headers:
            return get.body.length, get.body.headers["etag"]
        bucket, key, _ = self.split_path(path)
        answer = sync(self.loop, self._call_s3, "head_object", Bucket=bucket, Key=key)
        return int(answer["ContentLength"]), str(answer["ETag"])

    async def _go_on(self, get: Get) -> bytes:
        """Patiently get what a quick request did not, after the bytes that came."""
        if get.end is None:
            return await self._cat_file(get.path)
        begun = _Begun()
        if get.body.pieces and "etag" in get.body.headers:
            whole = get.body.headers.get("content-range", "").rpartition("/")[2]
            begun = _Begun(get.body.pieces, int(whole) if whole.isdigit() else 0, get.body.headers["etag"])
        return (await self._get_part(get.path, get.start, get.end, get.etag, begun))[0]

    async def _account(self, bucket: str) -> tuple[str, Any, str] | None:
        """What comes before the key in the URLs of a bucket's objects, who asks, and the region."""
        await self.set_session()
        credentials = await self.session.get_credentials()
        if credentials is None:
            return None
        url = await self._s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "x"})
        address = url.partition("?")[0].removesuffix("x")
        return address, await credentials.get_frozen_credentials(), self._s3.meta.region_name

    async def _get_file(self, rpath: str, lpath: str, **more: Any) -> None:
        with open(lpath, "wb") as file:

            def write(offset: int, content: bytes) -> None:
                file.seek(offset)
                file.write(content)

            await self._get_parts(rpath, write, lambda: file.truncate(0))

    async def _get_parts(self, path: str, take: Callable[[int, bytes], Any], forget: Callable[[], Any]) -> None:
        """Read one version of an object in parts, in any order; `forget` is called when it was replaced meanwhile."""
        for restart in range(_RESTARTS):
            try:
                first, size, etag = await self._get_part(path, 0, _PART)
                take(0, first)
                limit = asyncio.Semaphore(_PARTS_AT_ONCE)

                async def one(start: int, end: int, etag: str, limit: asyncio.Semaphore) -> None:
                    async with limit:
                        content = (await self._get_part(path, start, end, etag))[0]
                        take(start, content)

                starts = range(len(first), size, _PART)
                await _all_or_none([one(start, min(size, start + _PART), etag, limit) for start in starts])
                return
            except OSError as error:
                if not is_precondition_failed(error) or restart == _RESTARTS - 1:
                    raise
                forget()

    async def _get_part(
        self, path: str, start: int, end: int, etag: str | None = None, begun: "_Begun | None" = None
    ) -> tuple[bytes, int, str]:
        """Bytes `start` to `end` of an object (fewer where it ends before), its whole size and its ETag.

        They are of one version: that of `etag`, else the one whose bytes came first, else, where it was replaced
        meanwhile, the next.
        """
        for restart in range(_RESTARTS):
            try:
                return await self._get_part_of_one(path, start, end, etag, begun or _Begun())
            except OSError as error:
                if error_code(error) in {"InvalidRange", "416"}:  # the object ends before `start`, an empty one at 0
                    return b"", 0, ""
                if etag is not None or not is_precondition_failed(error) or restart == _RESTARTS - 1:
                    raise
                begun = None
        raise AssertionError

    async def _get_part_of_one(
        self, path: str, start: int, end: int, etag: str | None, begun: "_Begun"
    ) -> tuple[bytes, int, str]:
        bucket, key, _ = self.split_path(path)

        async def get() -> None:
            version = etag or begun.etag
            place = start + begun.came
            if begun.whole and place == min(end, begun.whole):
                return
            answer = await super(PatientS3FileSystem, self)._call_s3(
                "get_object",
                Bucket=bucket,
                Key=key,
                Range=f"bytes={place}-{end - 1}",
                **({} if version is None else {"IfMatch": version}),
            )
            length, body = answer["ContentLength"], answer["Body"]
            first, _, whole = str(answer.get("ContentRange", f"bytes 0-/{length}")).rpartition("/")
            if not first.startswith(f"bytes {place}-"):
                body.close()
                raise OSError(errno.EIO, f"expected bytes from {place} on, found {first}")
            begun.whole, begun.etag = int(whole), answer["ETag"]
            missing = length
            try:
                while missing and (piece := await body.read(_PIECE)):
                    begun.pieces.append(piece)
                    missing -= len(piece)
            finally:
                body.close()
            if missing:
                raise _CutOff(f"expected {length} bytes, found {length - missing}")

        await self._patiently(get, patience_s(), end - start, lambda: begun.came)
        return b"".join(begun.pieces), begun.whole, begun.etag or ""

    async def _put_file(self, lpath: str, rpath: str, **more: Any) -> None:
        size = os.path.getsize(lpath)
        put = super()._put_file
        how = {"chunksize": max(_PART, -(-size // _MOST_PARTS)), "max_concurrency": _PARTS_AT_ONCE}
        await self._once_more_if_vanished(rpath, lambda: put(lpath, rpath, **how))
        stored = (await self._info(rpath))["size"]
        if stored != size:
            raise OSError(errno.EIO, f"expected {size} bytes after writing, found {stored}")

    async def _pipe_file(self, path: str, data: bytes, **more: Any) -> None:
        put = super()._pipe_file
        await self._once_more_if_vanished(
            path, lambda: put(path, data, chunksize=_PART, max_concurrency=_PARTS_AT_ONCE)
        )

    async def _once_more_if_vanished(self, path: str, put: Callable[[], Awaitable[Any]]) -> None:
        """Upload again when the upload in parts is gone: it was completed by a request whose answer was lost."""
        for restart in range(_RESTARTS):
            try:
                await put()
                await self._abort_lost_uploads(path)
                return
            except FileNotFoundError as error:
                if error_code(error) != "NoSuchUpload" or restart == _RESTARTS - 1:
                    raise

    async def _abort_lost_uploads(self, path: str) -> None:
        """Remove uploads in parts that were begun by requests whose answers were lost: nobody knows their ids."""
        bucket, key, _ = self.split_path(path)
        if (bucket, key) in self._doubtful:
            self._doubtful.discard((bucket, key))
            found = await self._call_s3("list_multipart_uploads", Bucket=bucket, Prefix=key)
            for upload in found.get("Uploads", []):
                if upload["Key"] == key:
                    await self._abort_mpu(bucket, key, upload["UploadId"])

    async def _abort_mpu(self, bucket: str, key: str, mpu: str) -> None:
        try:
            await super()._abort_mpu(bucket, key, mpu)
        except FileNotFoundError:
            return
        except (OSError, BotoCoreError, aiohttp.ClientError) as error:
            _log.warning("s3://%s/%s: parts of an upload that failed may be left there: %s", bucket, key, error)

    async def _patiently(
        self,
        request: Callable[[], Awaitable[T]],
        patience: float,
        size: int,
        came: Callable[[], int] = lambda: 0,
    ) -> T:
        """Make a request until it succeeds; patience begins anew with progress, as `came` counts it (bytes)."""
        begun = time.monotonic()
        attempts = failures = known = 0
        while True:
            attempts += 1
            failures += 1
            left = patience - (time.monotonic() - begun)
            limit = max(1.0, min(left, _ATTEMPT_S + size / _SLOWEST_BYTES_S))
            try:
                result = await asyncio.wait_for(request(), limit)
            except Exception as error:
                self._answered |= _answer(error) is not None
                if not is_transient(error):
                    raise
                if came() - known >= _NEWS:
                    begun, failures, known = time.monotonic(), 0, came()
                    continue
                spent = time.monotonic() - begun
                unreachable = isinstance(error, _UNREACHABLE) and not self._answered
                pause = random.uniform(0.3, 1) * min(_LONGEST_PAUSE_S, 0.1 * 2**failures)
                if spent + pause > (min(patience, _UNREACHABLE_S) if unreachable else patience):
                    said = " ".join(str(error).split()) or f"no whole answer within {limit:.0f} s"
                    times = "1 attempt" if attempts == 1 else f"{attempts} attempts"
                    raise GaveUpError(f"{said}; gave up after {times} in {spent:.0f} s") from error
                await asyncio.sleep(pause)
            else:
                self._answered = True
                return result


@dataclass
class _Begun:
    """What came so far of a range: pieces in order, the size of the whole object, the version that they are of."""

    pieces: list[bytes] = field(default_factory=list)
    whole: int = 0
    etag: str | None = None

    @property
    def came(self) -> int:
        return sum(map(len, self.pieces))


async def _all_or_none(works: list[Coroutine[Any, Any, None]]) -> None:
    """Do them at once; when one fails, nothing of the others happens after this has returned."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _answer(error: BaseException) -> dict[str, Any] | None:
    for one in (error, error.__cause__):
        if isinstance(one, ClientError):
            answer: dict[str, Any] = one.response
            return answer
    return None
