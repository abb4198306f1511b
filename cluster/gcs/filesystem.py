"""gcsfs, made to survive a storage that fails for a while, and to read one version of an object, whole.

Of gcsfs it uses the account, the listings and the uploads; each request goes through `PatientRequests`. The class is
gcsfs's plain one: buckets of one zone ("rapid" ones), which speak another protocol, are none that it knows.
"""

import json
import os
import secrets
from typing import Any
from urllib.parse import quote

import aiohttp
from fsspec.asyn import sync, sync_wrapper
from gcsfs.core import GCSFileSystem
from gcsfs.retry import validate_response

from cluster.errors import OtherVersionError
from cluster.gcs.failures import FAILURES, is_transient, raise_plainly
from cluster.patience import PatientRequests, patience_s
from cluster.ranges import PART, Answer, RangedReader

EMULATOR = "STORAGE_EMULATOR_HOST"
"""Variable: address of a server that stands in for Google's; it is asked without an account."""
_ask = GCSFileSystem._request.__wrapped__  # one request, without the library's own repetitions


class PatientGcsFileSystem(GCSFileSystem):  # type: ignore[misc]
    """Google Cloud Storage through gcsfs, each request tried again while its failure is one that passes.

    Listings are never cached: other processes write to the same prefix.
    """

    cachable = False  # the caller knows better when an instance serves

    def __init__(self) -> None:
        super().__init__(
            project="",  # of no use here, and a wrong one would be an error
            token="anon" if os.environ.get(EMULATOR) else None,
            use_listings_cache=False,
            consistency="size",
            requests_timeout=aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=30),
            session_kwargs={"trust_env": True},
        )
        self.honoured: set[str] = set()
        self._requests = PatientRequests(FAILURES)
        self._ranges = RangedReader(self._ask_once, self._requests)

    def get_range(self, path: str, start: int, end: int, etag: str | None = None) -> bytes:
        """Bytes `start` to `end` of an object, fewer where it ends before; of the generation `etag` unless it is None.

        A broken stream goes on at the byte where it broke.
        """
        return bytes(sync(self.loop, self._ranges.read, path, start, end, etag)[0])

    def head(self, path: str) -> tuple[int, str]:
        """Size and generation of an object, with one request."""
        found = sync(self.loop, self._get_object, path)
        return int(found["size"]), str(found["generation"])

    async def _put_if_absent(self, path: str, content: bytes) -> bool:
        """Write an object unless one is there; whether it was written."""
        return await self._put_if(path, content, "0")

    put_if_absent = sync_wrapper(_put_if_absent)

    async def _put_if_same(self, path: str, content: bytes, etag: str) -> bool:
        """Write an object in place of its generation `etag`; whether that was still there."""
        return await self._put_if(path, content, etag)

    put_if_same = sync_wrapper(_put_if_same)

    async def _put_if(self, path: str, content: bytes, generation: str) -> bool:
        bucket, key, _ = self.split_path(path)
        writer, boundary = secrets.token_hex(8), secrets.token_hex(16)
        described = json.dumps({"name": key, "metadata": {"writer": writer}})
        parts = (("application/json; charset=UTF-8", described.encode()), ("application/octet-stream", content))
        lines = [
            b"--%s\r\nContent-Type: %s\r\n\r\n%s\r\n" % (boundary.encode(), kind.encode(), one) for kind, one in parts
        ]
        try:
            await self._call(
                "POST",
                f"{self._location}/upload/storage/v1/b/{quote(bucket)}/o",
                uploadType="multipart",
                ifGenerationMatch=generation,
                headers={"Content-Type": f"multipart/related; boundary={boundary}"},
                data=b"".join([*lines, b"--%s--" % boundary.encode()]),
            )
        except FileNotFoundError:
            if generation == "0":
                raise
            return False
        except OtherVersionError:
            # what is there may be our own: the answer was lost, and the request repeated
            try:
                there = await self._get_object(path)
            except FileNotFoundError:
                return False  # it was another's, who has removed it
            return bool(there.get("metadata", {}).get("writer") == writer)
        return True

    async def _exists(self, path: str) -> bool:
        try:
            await self._info(path)
        except FileNotFoundError:
            return False
        return True

    exists = sync_wrapper(_exists)

    async def _cat_file(self, path: str, start: int | None = None, end: int | None = None, **more: Any) -> bytes:
        return await self._ranges.read_bytes(path, start, end)

    async def _get_file(self, rpath: str, lpath: str, **more: Any) -> None:
        await self._ranges.read_to_file(rpath, lpath)

    async def _pipe_file(self, path: str, data: bytes | memoryview, **more: Any) -> None:
        await super()._pipe_file(path, memoryview(data).cast("B"), chunksize=PART)

    async def _put_file(self, lpath: str, rpath: str, **more: Any) -> None:
        await super()._put_file(lpath, rpath, chunksize=PART)

    async def _request(self, method: str, path: str, *names: str, data: Any = None, **more: Any) -> Any:
        async def once() -> Any:
            try:
                return await _ask(self, method, path, *names, data=data, **more)
            except Exception as error:
                if is_transient(error):
                    raise
                raise_plainly(error)

        return await self._requests.make(once, patience_s(), 0 if data is None else len(data))

    async def _ask_once(self, path: str, start: int, end: int, etag: str | None) -> Answer:
        bucket, key, _ = self.split_path(path)
        url = f"{self._location}/download/storage/v1/b/{quote(bucket)}/o/{quote(key, safe='')}"
        try:
            session = await self._set_session()
            response = await session.get(
                url,
                params=self._get_params({"alt": "media", "ifGenerationMatch": etag}),
                headers=self._get_headers({"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}),
                timeout=self.requests_timeout,
            )
            if response.status >= 400:
                validate_response(response.status, await response.read(), path)
        except Exception as error:
            if is_transient(error):
                raise
            raise_plainly(error)
        if response.content_length is None:
            response.close()
            raise OSError(
                "the length of the answer is not known; an object of Content-Encoding gzip can't be read here"
            )
        headers = response.headers
        return Answer(
            response.content_length,
            headers.get("Content-Range"),
            headers.get("x-goog-generation", ""),
            response.content.read,
            response.close,
        )
