"""Objects read in ranges, each of one version, going on at the byte where an answer broke off."""

import asyncio
import errno
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from cluster.s3.failures import CutOffError, error_code, is_precondition_failed
from cluster.s3.patience import PatientRequests, patience_s

PART = 16 << 20
"""Bytes of a large object that go over the wire with one request."""
PARTS_AT_ONCE = 4
RESTARTS = 5
"""Times that what was overtaken by others is begun anew."""
_PIECE = 1 << 20  # bytes of a body that are taken at once


@dataclass
class Begun:
    """What came so far of a range: pieces in order, the size of the whole object, the version that they are of."""

    pieces: list[bytes] = field(default_factory=list)
    whole: int = 0
    etag: str | None = None

    @property
    def came(self) -> int:
        """Bytes that came."""
        return sum(map(len, self.pieces))


class RangedReader:
    """Reads objects of S3, patiently.

    Args:
        get_object: makes one `GetObject` request, with botocore's words.
        requests: makes it again.
    """

    def __init__(self, get_object: Callable[..., Awaitable[Mapping[str, Any]]], requests: PatientRequests) -> None:
        self._get_object = get_object
        self._requests = requests

    async def read(
        self, bucket: str, key: str, start: int, end: int, etag: str | None = None, begun: Begun | None = None
    ) -> tuple[bytes, int, str]:
        """Bytes `start` to `end` of an object (fewer where it ends before), its whole size and its ETag.

        They are of one version: that of `etag`, else the one whose bytes came first, else, where it was replaced
        meanwhile, the next.
        """
        for restart in range(RESTARTS):
            try:
                return await self._read_one_version(bucket, key, start, end, etag, begun or Begun())
            except OSError as error:
                if error_code(error) in {"InvalidRange", "416"}:  # the object ends before `start`, an empty one at 0
                    return b"", 0, ""
                if etag is not None or not is_precondition_failed(error) or restart == RESTARTS - 1:
                    raise
                begun = None
        raise AssertionError

    async def read_all(
        self, bucket: str, key: str, take: Callable[[int, bytes], Any], forget: Callable[[], Any]
    ) -> None:
        """Read one version of an object in parts.

        Args:
            take: is given each part, by its first byte, in any order.
            forget: called when the object was replaced meanwhile, and all begins anew.
        """
        for restart in range(RESTARTS):
            try:
                first, size, etag = await self.read(bucket, key, 0, PART)
                take(0, first)
                limit = asyncio.Semaphore(PARTS_AT_ONCE)

                async def one(start: int, end: int, etag: str, limit: asyncio.Semaphore) -> None:
                    async with limit:
                        content = (await self.read(bucket, key, start, end, etag))[0]
                        take(start, content)

                starts = range(len(first), size, PART)
                await _all_or_none([one(start, min(size, start + PART), etag, limit) for start in starts])
                return
            except OSError as error:
                if not is_precondition_failed(error) or restart == RESTARTS - 1:
                    raise
                forget()

    async def _read_one_version(
        self, bucket: str, key: str, start: int, end: int, etag: str | None, begun: Begun
    ) -> tuple[bytes, int, str]:
        async def get() -> None:
            version = etag or begun.etag
            place = start + begun.came
            if begun.whole and place == min(end, begun.whole):
                return
            answer = await self._get_object(
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
                raise CutOffError(f"expected {length} bytes, found {length - missing}")

        await self._requests.make(get, patience_s(), end - start, lambda: begun.came)
        return b"".join(begun.pieces), begun.whole, begun.etag or ""


async def _all_or_none(works: list[Coroutine[Any, Any, None]]) -> None:
    """Do them at once; when one fails, nothing of the others happens after this has returned."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
