"""What is needed of a client of object storage; `README.md` beside this file says what for, and who gives it.

Paths are `bucket/key`, whatever stands before `://` taken away. Each call is patient: it tries what fails in ways that
pass for `GAVT_STORAGE_PATIENCE_S` seconds. The names are fsspec's where fsspec has the thing.
"""

from collections.abc import Mapping
from typing import Any, Protocol


class ObjectStorage(Protocol):
    """A client of one kind of storage and account, for many threads of one process.

    Attributes:
        honoured: buckets of which it has been seen that `put_if_absent` holds there.

    Raises:
        FileNotFoundError: there is no such object or bucket.
        PermissionError: the account may not, or nobody may.
        OtherVersionError: the object is there in another version than the one asked for.
        NotOnceError: the server can't write an object only where none is.
        GaveUpError: no useful answer came until patience ended: nothing is known.
        OSError: all else, in one sentence.
    """

    honoured: set[str]

    def exists(self, path: str) -> bool:
        """Whether an object is there, or something below `path/`."""
        ...

    def head(self, path: str) -> tuple[int, str]:
        """Size of an object in bytes, and what tells this version of it from all others."""
        ...

    def find(self, path: str, detail: bool = True) -> Mapping[str, Mapping[str, Any]]:
        """All objects below `path/` at this moment, by their paths; `size` is one's bytes."""
        ...

    def ls(self, path: str, detail: bool = True) -> list[Mapping[str, Any]]:
        """What lies directly below `path/` at this moment: `name` and `type`, `directory` for what has more below."""
        ...

    def cat_file(self, path: str) -> bytes:
        """A whole object, of one version."""
        ...

    def get_range(self, path: str, start: int, end: int, etag: str | None = None) -> bytes:
        """Bytes `start` to `end` of an object, fewer where it ends before; of the version `etag` unless it is None."""
        ...

    def get_file(self, path: str, local: str) -> None:
        """A whole object of one version into a local file."""
        ...

    def pipe_file(self, path: str, content: bytes | memoryview) -> None:
        """Write an object: until it is whole, who reads finds the old one."""
        ...

    def put_file(self, local: str, path: str) -> None:
        """Write a local file as an object, likewise; a large one goes in parts and not through memory."""
        ...

    def put_if_absent(self, path: str, content: bytes) -> bool:
        """Write a small object unless one is there; whether this call wrote it, also where its answer was lost. Of many
        calls at once one writes."""
        ...

    def put_if_same(self, path: str, content: bytes, etag: str) -> bool:
        """Write a small object in place of its version `etag`; whether that was still there."""
        ...

    def rm_file(self, path: str) -> None:
        """Remove an object."""
        ...
