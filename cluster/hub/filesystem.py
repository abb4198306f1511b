"""Repositories of the Hugging Face Hub, only read, each at one commit.

A branch moves under who reads it, and the Hub can't be asked for bytes of one version of a file by its branch. So a
process looks up once which commit a branch or tag stands for, and reads all of the repository there: nothing that it
reads can change. What tells versions apart is the file's Git id, which is a hash of its content.
"""

import asyncio
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn, TypeVar

from fsspec.asyn import get_loop, sync
from huggingface_hub import HfApi, HfFileSystem
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import parse_hf_uri

from cluster.errors import OtherVersionError
from cluster.patience import Failures, PatientRequests, patience_s
from cluster.ranges import PART

T = TypeVar("T")

_AT_ONCE = 32
_PASSING = {408, 429, 500, 502, 503, 504}
_REFUSED = {401, 403}
HTTP_ERROR = HfHubHTTPError.__bases__[0]  # what the library's own HTTP client raises, whichever that is
_ONLY_READ = (
    "the Hugging Face Hub is only read: a write to a repository is a commit of all of it, of which there is a quota an "
    "hour, and one to a bucket can't be made to fail where a file is, so two jobs could take the same run"
)
_NO_BUCKET = "buckets of the Hugging Face Hub are not read: they can't be asked for one version of a file"


class HubFileSystem:
    """The Hub as a storage that nobody may write to; see `cluster.storage.contract.ObjectStorage`."""

    def __init__(self) -> None:
        self.honoured: set[str] = set()
        endpoint = os.environ.get("HF_ENDPOINT")  # as it is now; the library has it from when it was imported
        self._hub = HfFileSystem(endpoint=endpoint, skip_instance_cache=True)
        self._api = HfApi(endpoint=endpoint)
        self._commits: dict[tuple[str, str, str | None], str] = {}
        self._lock = threading.Lock()
        self._requests = PatientRequests(Failures(_is_transient, _is_answer, _is_unreachable))
        self._threads = ThreadPoolExecutor(_AT_ONCE, "gavt-hub")  # the library knows no event loop

    def exists(self, path: str) -> bool:
        """Whether a file or folder is there."""
        try:
            self._info(path)
        except FileNotFoundError:
            return False
        return True

    def head(self, path: str) -> tuple[int, str]:
        """Size of a file, and the Git id of its content."""
        found = self._info(path)
        if found["type"] != "file":
            raise FileNotFoundError(path)
        return int(found["size"]), str(found["blob_id"])

    def find(self, path: str, detail: bool = True) -> Mapping[str, Mapping[str, Any]]:
        """All files below a folder."""
        root, there = self._at_commit(path)
        found = self._patiently(lambda: self._hub.find(there, detail=True))
        return {_renamed(name, root): entry for name, entry in found.items()}

    def ls(self, path: str, detail: bool = True) -> list[Mapping[str, Any]]:
        """What lies directly below a folder."""
        root, there = self._at_commit(path)
        found = self._patiently(lambda: self._hub.ls(there, detail=True))
        return [{**entry, "name": _renamed(entry["name"], root)} for entry in found]

    def cat_file(self, path: str) -> bytes:
        """A whole file."""
        there, size = self._at_commit(path)[1], self.head(path)[0]
        content = self._patiently(lambda: bytes(self._hub.cat_file(there)), size)
        if len(content) != size:
            raise OSError(f"expected {size} bytes, found {len(content)}")
        return content

    def get_range(self, path: str, start: int, end: int, etag: str | None = None) -> bytes:
        """Bytes of a file, with one request; of the content `etag` unless it is None."""
        there = self._at_commit(path)[1]
        size, found = self.head(path)
        if etag is not None and found != etag:
            raise OtherVersionError(f"expected content {etag} at {there}")
        end = min(end, size)
        if start >= end:
            return b""
        content = self._patiently(
            lambda: bytes(self._hub.cat_file(there, start=start, end=end, cache_type="none")), end - start
        )
        if len(content) == size:  # what is sent compressed is sent whole
            content = content[start:end]
        if len(content) != end - start:
            raise OSError(f"expected {end - start} bytes from byte {start} on, found {len(content)}")
        return content

    def get_file(self, path: str, local: str) -> None:
        """A whole file into a local one."""
        size, content = self.head(path)
        with open(local, "wb") as file:
            for start in range(0, size, PART):
                file.write(self.get_range(path, start, min(size, start + PART), content))

    def pipe_file(self, path: str, content: bytes | memoryview) -> None:
        """Refused."""
        raise PermissionError(_ONLY_READ)

    def put_file(self, local: str, path: str) -> None:
        """Refused."""
        raise PermissionError(_ONLY_READ)

    def put_if_absent(self, path: str, content: bytes) -> bool:
        """Refused."""
        raise PermissionError(_ONLY_READ)

    def put_if_same(self, path: str, content: bytes, etag: str) -> bool:
        """Refused."""
        raise PermissionError(_ONLY_READ)

    def rm_file(self, path: str) -> None:
        """Refused."""
        raise PermissionError(_ONLY_READ)

    def _info(self, path: str) -> Mapping[str, Any]:
        there = self._at_commit(path)[1]
        found: Mapping[str, Any] = self._patiently(lambda: self._hub.info(there))
        return found

    def _at_commit(self, path: str) -> tuple[str, str]:
        """What stands before the path in the repository, as it was written, and the whole path at the commit."""
        try:
            asked = parse_hf_uri(f"hf://{path}")
        except ValueError as error:
            raise OSError(f"{' '.join(str(error).split())}; expected hf://datasets/USER/NAME[@REVISION]/…") from error
        if asked.is_bucket:
            raise PermissionError(_NO_BUCKET)
        repository = (asked.type, asked.id, asked.revision)
        with self._lock:
            if repository not in self._commits:
                self._commits[repository] = self._patiently(
                    lambda: str(self._api.repo_info(asked.id, repo_type=asked.type, revision=asked.revision).sha)
                )
        kind = "" if asked.type == "model" else f"{asked.type}s/"
        root = path.rstrip("/").removesuffix(asked.path_in_repo).rstrip("/")
        return root, f"{kind}{asked.id}@{self._commits[repository]}/{asked.path_in_repo}".rstrip("/")

    def _patiently(self, call: Callable[[], T], size: int = 0) -> T:
        async def once() -> T:
            try:
                return await asyncio.wrap_future(self._threads.submit(call))
            except Exception as error:
                if _is_transient(error):
                    raise
                _raise_plainly(error)

        result: T = sync(get_loop(), self._requests.make, once, patience_s(), size)
        return result


def _renamed(name: str, root: str) -> str:
    """A path at a commit (`…@COMMIT/path`) as one below the root that was asked for."""
    return root + name[name.index("/", name.index("@")) :]


def _status(error: BaseException) -> int:
    return int(error.response.status_code) if isinstance(error, HfHubHTTPError) else 0


def _is_transient(error: BaseException) -> bool:
    if isinstance(error, HfHubHTTPError):
        return _status(error) in _PASSING
    return isinstance(error, HTTP_ERROR | TimeoutError) and "certificate" not in str(error).lower()


def _is_answer(error: BaseException) -> bool:
    return isinstance(error, HfHubHTTPError | FileNotFoundError)


def _is_unreachable(error: BaseException) -> bool:
    return type(error).__name__ in {"ConnectError", "ConnectTimeout"}


def _raise_plainly(error: Exception) -> NoReturn:
    if isinstance(error, GatedRepoError):
        raise PermissionError("the repository is gated: ask for access on its page, and set HF_TOKEN") from error
    if isinstance(error, RepositoryNotFoundError):
        raise PermissionError("no such repository, or none that the account of HF_TOKEN may read") from error
    if isinstance(error, EntryNotFoundError | RevisionNotFoundError):
        raise FileNotFoundError(str(error)) from error
    if _status(error) in _REFUSED:
        raise PermissionError(str(error)) from error
    if isinstance(error, OSError):
        raise error
    raise OSError(str(error)) from error
