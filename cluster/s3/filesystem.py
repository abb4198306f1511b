"""s3fs, made to survive a storage that fails for a while.

s3fs by itself tries a request again after broken connections and SlowDown, but not after 500, 502 or a plain 503, not
where it can't connect, not while it reads the parts of a large file, and without a limit in time. Here every request is
tried until it succeeds, fails for good, or patience ends, and what is read is one version of a file, whole.
"""

import asyncio
import errno
import logging
import os
import secrets
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, cast

import aiohttp
from botocore.exceptions import BotoCoreError
from fsspec.asyn import sync, sync_wrapper
from s3fs import S3FileSystem

from cluster.errors import AfterTheEndError, NotOnceError, OtherVersionError
from cluster.patience import PatientRequests, patience_s, pause_s
from cluster.ranges import PART, PARTS_AT_ONCE, RESTARTS, Answer, Begun, RangedReader
from cluster.s3.failures import FAILURES, error_code, is_precondition_failed
from cluster.s3.quick import Get, QuickS3

_Account = tuple[str, Any, str] | None

_ABORT_S = 10.0
_MOST_PARTS = 10_000
_CONNECTIONS = 64
_REFUSED = 500  # or a higher status
_UNKNOWN = {"NotImplemented", "501"}  # what servers say of a header that they don't know
_log = logging.getLogger(__name__)


class _InParts:
    """Memory of which each slice is bytes of its own, the only kind that botocore sends."""

    def __init__(self, content: bytes | memoryview) -> None:
        self._content = memoryview(content)

    def __len__(self) -> int:
        return len(self._content)

    def __getitem__(self, part: slice) -> bytes:
        return bytes(self._content[part])


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
        self.honoured: set[str] = set()
        self._requests = PatientRequests(FAILURES)
        self._ranges = RangedReader(self._ask_once, self._requests)
        self._doubtful: set[tuple[str, str]] = set()
        self._quick = QuickS3(lambda bucket: cast("_Account", sync(self.loop, self._account, bucket)))

    def get_range(self, path: str, start: int, end: int, etag: str | None = None) -> bytes:
        """Bytes `start` to `end` of an object, fewer where it ends before; of the version `etag` unless it is None.

        A broken stream goes on at the byte where it broke.
        """
        get = Get(path, start, end, etag)
        if self._quick.ask(get, patience_s()):
            self._requests.answered = True
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
        sync(self.loop, self._pause_if_refused, get)
        bucket, key, _ = self.split_path(path)
        answer = sync(self.loop, self._call_s3, "head_object", Bucket=bucket, Key=key)
        return int(answer["ContentLength"]), str(answer["ETag"])

    async def _endpoint(self) -> str:
        """Address of the server."""
        await self.set_session()
        return str(self._s3.meta.endpoint_url)

    endpoint = sync_wrapper(_endpoint)

    async def _put_if_absent(self, path: str, content: bytes) -> bool:
        """Write an object unless one is there; whether it was written."""
        return await self._put_if(path, content, IfNoneMatch="*")

    put_if_absent = sync_wrapper(_put_if_absent)

    async def _put_if_same(self, path: str, content: bytes, etag: str) -> bool:
        """Write an object in place of its version `etag`; whether that was still there."""
        for said in (etag.strip('"'), etag):  # Ceph wants it without the quotes that belong to it, others may not
            try:
                if await self._put_if(path, content, IfMatch=said):
                    return True
                if (await self._info(path))["ETag"] != etag:
                    return False
            except FileNotFoundError:
                return False
        return False

    put_if_same = sync_wrapper(_put_if_same)

    async def _put_if(self, path: str, content: bytes, **condition: str) -> bool:
        bucket, key, _ = self.split_path(path)
        writer = secrets.token_hex(8)

        async def put() -> None:
            await self._call_once(
                "put_object", Bucket=bucket, Key=key, Body=content, Metadata={"writer": writer}, **condition
            )

        try:
            await self._requests.make(put, patience_s(), len(content))
        except OSError as error:
            if error_code(error) in _UNKNOWN:
                raise NotOnceError(f"it knows no conditional writes ({error_code(error)})") from error
            if not is_precondition_failed(error):
                raise
            # what is there may be our own: the answer was lost, and the request repeated, maybe by the library
            try:
                there = await self._call_s3("head_object", Bucket=bucket, Key=key)
            except FileNotFoundError:
                return False  # it was another's, who has removed it
            return bool(there["Metadata"].get("writer") == writer)
        return True

    async def _exists(self, path: str) -> bool:
        try:
            await self._info(path)
        except FileNotFoundError:
            return False
        return True

    exists = sync_wrapper(_exists)

    async def _call_once(self, method: str, **words: Any) -> Any:
        return await super()._call_s3(method, **words)

    async def _ask_once(self, path: str, start: int, end: int, etag: str | None) -> Answer:
        bucket, key, _ = self.split_path(path)
        condition = {} if etag is None else {"IfMatch": etag}
        try:
            found = await self._call_once(
                "get_object", Bucket=bucket, Key=key, Range=f"bytes={start}-{end - 1}", **condition
            )
        except OSError as error:
            if error_code(error) in {"InvalidRange", "416"}:
                raise AfterTheEndError(str(error)) from error
            if is_precondition_failed(error):
                raise OtherVersionError(str(error)) from error
            raise
        body = found["Body"]
        return Answer(found["ContentLength"], found.get("ContentRange"), found["ETag"], body.read, body.close)

    async def _call_s3(self, method: str, *more: Any, **words: Any) -> Any:
        body = words.get("Body")
        patience = min(_ABORT_S, patience_s()) if method == "abort_multipart_upload" else patience_s()
        call, attempts = super()._call_s3, 0

        async def request() -> Any:
            nonlocal attempts
            attempts += 1
            return await call(method, *more, **words)

        result = await self._requests.make(request, patience, len(body) if body else 0)
        if method == "create_multipart_upload" and attempts > 1:
            self._doubtful.add((words["Bucket"], words["Key"]))
        return result

    async def _cat_file(
        self, path: str, version_id: str | None = None, start: int | None = None, end: int | None = None, **more: Any
    ) -> bytes:
        return await self._ranges.read_bytes(path, start, end)

    async def _get_file(self, rpath: str, lpath: str, **more: Any) -> None:
        await self._ranges.read_to_file(rpath, lpath)

    async def _go_on(self, get: Get) -> bytes:
        """Patiently get what a quick request did not, after the bytes that came."""
        await self._pause_if_refused(get)
        if get.end is None:
            return await self._cat_file(get.path)
        begun = Begun()
        if get.body.pieces and "etag" in get.body.headers:
            whole = get.body.headers.get("content-range", "").rpartition("/")[2]
            begun = Begun(get.body.pieces, int(whole) if whole.isdigit() else 0, get.body.headers["etag"])
        return (await self._ranges.read(get.path, get.start, get.end, get.etag, begun))[0]

    async def _pause_if_refused(self, get: Get) -> None:
        """A server that has enough is not asked again at once."""
        if get.body.status >= _REFUSED:
            await asyncio.sleep(pause_s(1))

    async def _account(self, bucket: str) -> _Account:
        """What comes before the key in the URLs of a bucket's objects, who asks, and the region."""
        await self.set_session()
        credentials = await self.session.get_credentials()
        if credentials is None:
            return None
        url = await self._s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "x"})
        address = url.partition("?")[0].removesuffix("x")
        return address, await credentials.get_frozen_credentials(), self._s3.meta.region_name

    async def _put_file(self, lpath: str, rpath: str, **more: Any) -> None:
        size = os.path.getsize(lpath)
        put = super()._put_file
        how = {"chunksize": max(PART, -(-size // _MOST_PARTS)), "max_concurrency": PARTS_AT_ONCE}
        await self._once_more_if_vanished(rpath, lambda: put(lpath, rpath, **how))
        stored = (await self._info(rpath))["size"]
        if stored != size:
            raise OSError(errno.EIO, f"expected {size} bytes after writing, found {stored}")

    async def _pipe_file(self, path: str, data: bytes | memoryview, **more: Any) -> None:
        put = super()._pipe_file
        how = {"chunksize": max(PART, -(-len(data) // _MOST_PARTS)), "max_concurrency": PARTS_AT_ONCE}
        # the library takes one request for what is shorter than two parts, and slices what is longer
        body = bytes(data) if len(data) < 2 * how["chunksize"] else _InParts(data)
        await self._once_more_if_vanished(path, lambda: put(path, body, **how))

    async def _once_more_if_vanished(self, path: str, put: Callable[[], Awaitable[Any]]) -> None:
        """Upload again when the upload in parts is gone: it was completed by a request whose answer was lost."""
        for restart in range(RESTARTS):
            try:
                await put()
                await self._abort_lost_uploads(path)
                return
            except FileNotFoundError as error:
                if error_code(error) != "NoSuchUpload" or restart == RESTARTS - 1:
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
