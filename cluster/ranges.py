"""Objects read in ranges, each of one version, going on at the byte where an answer broke off."""

import asyncio
import errno
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from cluster.errors import AfterTheEndError, CutOffError, OtherVersionError
from cluster.patience import PatientRequests, patience_s

PART = 16 << 20
"""Bytes of a large object that go over the wire with one request."""
PARTS_AT_ONCE = 4
RESTARTS = 5
"""Times that what was overtaken by others is begun anew."""
_PIECE = 1 << 20  # bytes of a body that are taken at once


@dataclass
class Begun:
    """What came so far of a range: pieces in order, the size of the whole object, the version that they are of."""

    pieces: list[bytes | memoryview] = field(default_factory=list)
    whole: int = 0
    etag: str | None = None

    @property
    def came(self) -> int:
        """Bytes that came."""
        return sum(map(len, self.pieces))


@dataclass(frozen=True)
class Answer:
    """An answer whose body has not been read yet.

    Attributes:
        length: bytes of the body, as announced.
        content_range: `bytes 5-9/20`, as the header says; None where there is no such header.
        etag: the version of the object.
        read: takes up to so many bytes of the body.
        close: to be called at the end.
    """

    length: int
    content_range: str | None
    etag: str
    read: Callable[[int], Awaitable[bytes]]
    close: Callable[[], Any]


Ask = Callable[[str, int, int, str | None], Awaitable[Answer]]
"""Asks once for bytes of the object `bucket/key`, from the first to before the last, of a version or of any.

Raises:
    AfterTheEndError: the object has no byte there.
    OtherVersionError: the object is there in another version.
"""


class RangedReader:
    """Reads objects, patiently.

    Args:
        ask: makes one request.
        requests: makes it again.
    """

    def __init__(self, ask: Ask, requests: PatientRequests) -> None:
        self._ask = ask
        self._requests = requests

    async def read(
        self, path: str, start: int, end: int, etag: str | None = None, begun: Begun | None = None
    ) -> tuple[bytes, int, str]:
        """Bytes `start` to `end` of an object (fewer where it ends before), its whole size and its version.

        They are of one version: that of `etag`, else the one whose bytes came first, else, where it was replaced
        meanwhile, the next.
        """
        for restart in range(RESTARTS):
            try:
                return await self._read_one_version(path, start, end, etag, begun or Begun())
            except AfterTheEndError:  # the object ends before `start`, an empty one at 0
                return b"", 0, ""
            except OtherVersionError:
                if etag is not None or restart == RESTARTS - 1:
                    raise
                begun = None
        raise AssertionError

    async def read_all(self, path: str, take: Callable[[int, bytes], Any], forget: Callable[[], Any]) -> None:
        """Read one version of an object in parts.

        Args:
            path: `bucket/key`.
            take: is given each part, by its first byte, in any order.
            forget: called when the object was replaced meanwhile, and all begins anew.
        """
        for restart in range(RESTARTS):
            try:
                first, size, etag = await self.read(path, 0, PART)
                take(0, first)
                limit = asyncio.Semaphore(PARTS_AT_ONCE)

                async def one(start: int, end: int, etag: str, limit: asyncio.Semaphore) -> None:
                    async with limit:
                        content = (await self.read(path, start, end, etag))[0]
                        take(start, content)

                starts = range(len(first), size, PART)
                await _all_or_none([one(start, min(size, start + PART), etag, limit) for start in starts])
                return
            except OtherVersionError:
                if restart == RESTARTS - 1:
                    raise
                forget()

    async def read_bytes(self, path: str, start: int | None = None, end: int | None = None) -> bytes:
        """An object's bytes, from one to before another where both are given; raises as `read`."""
        if start is not None and end is not None:
            return (await self.read(path, start, end))[0]
        parts: dict[int, bytes] = {}
        await self.read_all(path, parts.__setitem__, parts.clear)
        return parts[0] if len(parts) == 1 else b"".join(parts[offset] for offset in sorted(parts))

    async def read_to_file(self, path: str, file_path: str) -> None:
        """Write an object to a local file; raises as `read`."""
        with open(file_path, "wb") as file:

            def write(offset: int, content: bytes) -> None:
                file.seek(offset)
                file.write(content)

            await self.read_all(path, write, lambda: file.truncate(0))

    async def _read_one_version(
        self, path: str, start: int, end: int, etag: str | None, begun: Begun
    ) -> tuple[bytes, int, str]:
        async def get() -> None:
            version = etag or begun.etag
            place = start + begun.came
            if begun.whole and place == min(end, begun.whole):
                return
            answer = await self._ask(path, place, end, version)
            try:
                first, _, whole = (answer.content_range or f"bytes 0-/{answer.length}").rpartition("/")
                if not first.startswith(f"bytes {place}-"):
                    raise OSError(errno.EIO, f"expected bytes from {place} on, found {first}")
                if version is not None and answer.etag != version:  # there are servers that know no conditions
                    raise OtherVersionError(f"expected version {version}, found {answer.etag}")
                begun.whole, begun.etag = int(whole), answer.etag
                missing = wanted = min(answer.length, end - place)
                while missing and (piece := await answer.read(min(missing, _PIECE))):
                    begun.pieces.append(piece)
                    missing -= len(piece)
            finally:
                answer.close()
            if missing:
                raise CutOffError(f"expected {wanted} bytes, found {wanted - missing}")

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
