"""Files on local disk and on object storage, behind one set of functions.

A path is a local path or a URL such as `s3://bucket/key`. Endpoint and credentials of S3 come from the usual variables
(`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_ENDPOINT_URL`, `AWS_REGION`, or the files in `~/.aws`).
Writes are atomic: a reader sees the old file or the new one, never half of one. On S3, what fails in ways that pass
(503, lost connections, answers cut off) is tried again for `GAVT_STORAGE_PATIENCE_S` seconds a request, 180 unless set.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import fsspec

from cluster.errors import (
    ChangedFileError,
    ForbiddenError,
    GaveUpError,
    MissingFileError,
    StorageError,
    UnreachableError,
)
from cluster.remote_file import RemoteFile

if TYPE_CHECKING:  # S3's client takes half a second to import; who reads local files shall not wait for it
    from cluster.s3_filesystem import PatientS3FileSystem
    from cluster.s3_quick import Get

Location = str | os.PathLike[str]


@dataclass(frozen=True)
class FileInfo:
    """A file of a listing: its full path or URL and its size in bytes."""

    url: str
    size: int


@dataclass(frozen=True)
class FileVersion:
    """One version of a file: its size in bytes, and its ETag (of a local file: time of change, size and inode)."""

    size: int
    etag: str


def is_remote(url: Location) -> bool:
    """Whether `url` names another machine's storage (`s3://…`) rather than a local path."""
    return "://" in os.fspath(url) and not os.fspath(url).startswith("file://")


def join(base: Location, *parts: str) -> str:
    """`base` with `parts` below it."""
    return "/".join([os.fspath(base).rstrip("/") or "/", *parts]).replace("//", "/", 1 if base == "/" else 0)


def get_ready(url: Location) -> None:
    """Make the client that later reads of `url` use, which takes half a second with S3."""
    _open_filesystem(url)


def exists(url: Location) -> bool:
    """Whether a file, or a folder with something in it, is there."""
    filesystem, path = _open_filesystem(url)
    with _said_plainly("read", url):
        return bool(filesystem.exists(path))


def list_files(folder: Location) -> list[FileInfo]:
    """All files below `folder`, sorted by name; empty if there is no such folder. One listing, no request per file."""
    filesystem, path = _open_filesystem(folder)
    with _said_plainly("list", folder):
        try:
            found = filesystem.find(path, detail=True)
        except FileNotFoundError:
            return []
    base = os.fspath(folder).rstrip("/")
    root = path.rstrip("/")
    return sorted(
        (
            FileInfo(base + name[len(root) :], int(entry["size"]))
            for name, entry in found.items()
            if name != root and not _is_part(name)
        ),
        key=lambda file: file.url,
    )


def size(url: Location) -> int:
    """Size of a file in bytes."""
    filesystem, path = _open_filesystem(url)
    with _said_plainly("read", url):
        return int(filesystem.size(path))


def read_bytes(url: Location) -> bytes:
    """The whole content of a file."""
    filesystem, path = _open_filesystem(url)
    with _said_plainly("read", url):
        return bytes(filesystem.cat_file(path))


def read_text(url: Location) -> str:
    """The whole content of a UTF-8 text file (a byte-order mark is dropped)."""
    try:
        return read_bytes(url).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise StorageError(f"{os.fspath(url)}: expected UTF-8 text, found byte {error.start} that is none") from None


def read_json(url: Location) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        StorageError: something else is in the file.
    """
    try:
        content = json.loads(read_text(url))
    except ValueError as error:
        raise StorageError(f"{os.fspath(url)}: expected JSON: {error}") from None
    if not isinstance(content, dict):
        raise StorageError(f"{os.fspath(url)}: expected a JSON object, found {type(content).__name__}")
    return content


def read_many(urls: Iterable[Location], readers: int = 64) -> Iterator[bytes]:
    """The whole contents of many files, in the order of `urls`, `readers` of them read at a time.

    For many small files: on object storage a file takes as long as its answer, and this waits for many answers at once.

    Raises:
        StorageError: at the first file that can't be read.
    """
    for content in read_each(urls, readers):
        if isinstance(content, StorageError):
            raise content
        yield content


def read_each(urls: Iterable[Location], readers: int = 64) -> Iterator[bytes | StorageError]:
    """As `read_many`; a file that can't be read gives its error, and leaves the others alone."""
    return _or_error(_read_all(((url, 0, None, None) for url in urls), readers))


def version(url: Location) -> FileVersion:
    """Size and ETag of a file, with one request. Where there are no ETags, what tells versions apart stands in for one.

    Raises:
        MissingFileError, ForbiddenError, UnreachableError, StorageError: as the names say.
    """
    with _said_plainly("read", url):
        if not is_remote(url):
            return _local_version(os.stat(_local_path(url)))
        filesystem, path = _open_filesystem(url)
        if (s3 := _s3_of(url)) is not None:
            return FileVersion(*s3.head(path))
        return FileVersion(int(filesystem.size(path)), str(filesystem.ukey(path)))


def read_part(url: Location, start: int, length: int, version: FileVersion | None = None) -> bytes:
    """Exactly `length` bytes of a file from byte `start`, of one version: of `version`, or of whichever is there.

    A broken stream goes on at the byte where it broke. Storage that is neither local nor S3 can't be asked for a
    version: there only the length is checked.

    Raises:
        ChangedFileError: another version is there.
        UnreachableError: the storage failed until patience ended.
        StorageError: the file ends before, is missing (`MissingFileError`) or can't be read.
    """
    with _said_plainly("read", url):
        if not is_remote(url):
            content = _read_local_part(os.fspath(url).removeprefix("file://"), start, length, version)
        else:
            filesystem, path = _open_filesystem(url)
            if length == 0:
                content = b""
            elif (s3 := _s3_of(url)) is not None:
                content = s3.get_range(path, start, start + length, None if version is None else version.etag)
            else:
                content = bytes(filesystem.cat_file(path, start=start, end=start + length))
        return _whole(url, content, start, length)


def read_parts(
    parts: Iterable[tuple[Location, int, int, FileVersion | None]], readers: int = 32
) -> Iterator[bytes | StorageError]:
    """What `read_part` would return or raise for each `(url, start, length, version)`, in order, `readers` at a time.

    One thread does it all, and an error of one part leaves the others alone. For a batch on object storage.
    """
    return _or_error(_read_all(parts, readers))


def sha256(path: Location) -> str:
    """SHA-256 of a local file's content, in hexadecimal digits."""
    digest = hashlib.sha256()
    with _said_plainly("read", path), _local_path(path).open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def read_range(url: Location, start: int, length: int) -> bytes:
    """`length` bytes of a file from byte `start`; fewer where the file ends before."""
    if length == 0:
        return b""  # S3 knows no empty range and would send the whole file
    filesystem, path = _open_filesystem(url)
    with _said_plainly("read", url):
        if (s3 := _s3_of(url)) is not None:
            return s3.get_range(path, start, start + length)
        return bytes(filesystem.cat_file(path, start=start, end=start + length))


def write_bytes(url: Location, content: bytes, *, durable: bool = True) -> None:
    """Write a whole file, atomically; folders on the way are made.

    Args:
        url: path or URL.
        content: what the file then holds.
        durable: wait until a local disk has it, so that it survives a power cut. False is for many small files that can
            be made again; they survive the death of the process all the same.
    """
    if is_remote(url):
        filesystem, path = _open_filesystem(url)
        with _said_plainly("write", url):
            filesystem.pipe_file(path, content)
        return
    with _said_plainly("write", url), _replaced_when_done(url, durable=durable) as part:
        part.write_bytes(content)


def create(url: Location, content: bytes) -> bool:
    """Write a whole file, atomically, unless one is there; whether it was written.

    Of several that create the same file at once, one succeeds. On S3 this is a conditional write (`If-None-Match: *`),
    known by AWS, Ceph and MinIO; a server that does not know it refuses or, worse, overwrites.
    """
    _, path = _open_filesystem(url)
    with _said_plainly("write", url):
        if (s3 := _s3_of(url)) is not None:
            return bool(s3.put_if_absent(path, content))
        if is_remote(url):
            raise StorageError(f"{os.fspath(url)}: expected a path or s3://, where files can be created once")
        with _part_beside(url) as part:
            part.write_bytes(content)
            _make_durable(part)
            try:
                os.link(part, _local_path(url))
            except FileExistsError:
                return False
    return True


def write_text(url: Location, text: str) -> None:
    """Write a whole UTF-8 text file, atomically."""
    write_bytes(url, text.encode())


def upload(local_path: Location, url: Location) -> None:
    """Copy a local file to a path or URL; it appears there whole or not at all."""
    if not _local_path(local_path).is_file():
        raise MissingFileError(f"{os.fspath(local_path)}: no such file")
    if is_remote(url):
        filesystem, path = _open_filesystem(url)
        with _said_plainly("write", url):
            filesystem.put_file(os.fspath(local_path), path)
        return
    with _said_plainly("write", url), _replaced_when_done(url) as part:
        shutil.copyfile(local_path, part)


def download(url: Location, local_path: Location) -> None:
    """Copy a file to a local path; it appears there whole or not at all."""
    if not is_remote(url):
        upload(_local_path(url), local_path)
        return
    filesystem, path = _open_filesystem(url)
    with _said_plainly("read", url), _replaced_when_done(local_path) as part:
        filesystem.get_file(path, os.fspath(part))


def remove(url: Location) -> None:
    """Remove one file; nothing happens if it isn't there."""
    filesystem, path = _open_filesystem(url)
    with _said_plainly("remove", url):
        try:
            filesystem.rm_file(path)
        except FileNotFoundError:
            return


def remove_parts(folder: Location) -> None:
    """Remove what killed writers left half-written below a local folder; nothing is left visible on object storage.

    Only for somebody who knows that nobody writes there any more.
    """
    if is_remote(folder):
        return
    with _said_plainly("clean", folder):
        for part in _local_path(folder).rglob(".*.part"):
            part.unlink(missing_ok=True)


def open_read(url: Location) -> IO[bytes]:
    """Open a file for reading, seekable; on object storage blocks are fetched as they are asked for."""
    if is_remote(url):
        return cast("IO[bytes]", RemoteFile(lambda start, length: read_range(url, start, length), size(url)))
    with _said_plainly("read", url):
        return _local_path(url).open("rb")


@contextmanager
def local_copy(url: Location) -> Iterator[Path]:
    """A local path with the file's content: the file itself where it is local, else a copy removed at the end."""
    if not is_remote(url):
        path = _local_path(url)
        if not path.exists():
            raise MissingFileError(f"{os.fspath(url)}: no such file")
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="gavt-") as folder:
        copy = Path(folder) / os.fspath(url).rsplit("/", 1)[-1]
        download(url, copy)
        yield copy


def _local_path(url: Location) -> Path:
    return Path(os.fspath(url).removeprefix("file://"))


def _open_filesystem(url: Location) -> tuple[Any, str]:
    """The filesystem that holds `url`, and the path in it."""
    if not is_remote(url):
        return _filesystem("file", os.getpid(), ()), str(_local_path(url).absolute())
    protocol, path = os.fspath(url).split("://", 1)
    account = tuple((name, os.environ[name]) for name in os.environ if name.startswith("AWS_"))
    return _filesystem(protocol, os.getpid(), account), path


@lru_cache(maxsize=16)
def _filesystem(protocol: str, process: int, account: tuple[tuple[str, str], ...]) -> Any:
    """One filesystem a protocol, process and set of variables that say where and who: an event loop does not survive a
    fork, so a child makes its own; and changed variables count from the next call on."""
    try:
        if protocol == "s3":
            from cluster.s3_filesystem import PatientS3FileSystem

            return PatientS3FileSystem()
        return fsspec.filesystem(protocol, skip_instance_cache=True)
    except (ValueError, ImportError) as error:
        raise StorageError(
            f"{protocol}://: expected a kind of storage that fsspec knows, found none: {error}"
        ) from None


_Wish = tuple[Location, int, int | None, FileVersion | None]
"""File, first byte, number of bytes (None: the whole file), version."""


def _read_all(wishes: Iterable[_Wish], readers: int) -> Iterator[bytes | Exception]:
    """Bytes or error of each wish, in order, `readers` of those that lie on one storage read at a time."""
    for remote, group in groupby(wishes, key=lambda wish: _s3_of(wish[0])):
        if remote is None:
            yield from _read_all_in_threads(group, readers)
        else:
            yield from _read_all_from_s3(remote, group, readers)


def _or_error(contents: Iterator[bytes | Exception]) -> Iterator[bytes | StorageError]:
    for content in contents:
        if isinstance(content, Exception) and not isinstance(content, StorageError):
            raise content
        yield content


def _s3_of(url: Location) -> "PatientS3FileSystem | None":
    return _open_filesystem(url)[0] if _is_s3(url) else None


def _is_s3(url: Location) -> bool:
    return os.fspath(url).startswith("s3://")


def _read_all_from_s3(s3: "PatientS3FileSystem", wishes: Iterable[_Wish], readers: int) -> Iterator[bytes | Exception]:
    from cluster.s3_quick import Get

    asked: deque[_Wish] = deque()

    def gets() -> "Iterator[Get]":
        for wish in wishes:
            url, start, length, version = wish
            asked.append(wish)
            path = os.fspath(url).split("://", 1)[1]
            end = None if length is None else start + length
            yield Get(path, start, end, None if version is None else version.etag)

    for content in s3.get_many(gets(), readers):
        url, start, length, _ = asked.popleft()
        try:
            with _said_plainly("read", url):
                if isinstance(content, Exception):
                    raise content
                whole = content if length is None else _whole(url, content, start, length)
        except Exception as error:
            yield error
        else:
            yield whole


def _read_all_in_threads(wishes: Iterable[_Wish], readers: int) -> Iterator[bytes | Exception]:
    def read(wish: _Wish) -> bytes | Exception:
        url, start, length, version = wish
        try:
            return read_bytes(url) if length is None else read_part(url, start, length, version)
        except Exception as error:
            return error

    waiting: deque[Future[bytes | Exception]] = deque()
    with ThreadPoolExecutor(readers) as threads:
        try:
            for wish in wishes:
                waiting.append(threads.submit(read, wish))
                if len(waiting) >= readers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _local_version(status: os.stat_result) -> FileVersion:
    return FileVersion(status.st_size, f"{status.st_mtime_ns:x}-{status.st_size:x}-{status.st_ino:x}")


def _read_local_part(path: str, start: int, length: int, version: FileVersion | None) -> bytes:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if version is not None and _local_version(os.fstat(file)) != version:
            raise ChangedFileError(f"{path}: expected the version that was there before, found another")
        pieces = []
        while length and (piece := os.pread(file, length, start)):  # one call reads 2 GiB at most
            pieces.append(piece)
            start, length = start + len(piece), length - len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)
    finally:
        os.close(file)


def _whole(url: Location, content: bytes, start: int, length: int) -> bytes:
    if len(content) != length:
        raise StorageError(f"{os.fspath(url)}: expected {length} bytes from byte {start} on, found {len(content)}")
    return content


@contextmanager
def _said_plainly(action: str, url: Location) -> Iterator[None]:
    """Turn what the storage library raises into one sentence."""
    try:
        yield
    except FileNotFoundError:
        raise MissingFileError(f"{os.fspath(url)}: no such file or bucket") from None
    except PermissionError as error:
        raise ForbiddenError(f"{os.fspath(url)}: not allowed to {action} it ({_one_line(error)})") from None
    except GaveUpError as error:
        raise UnreachableError(f"{os.fspath(url)}: can't {action} it: {_one_line(error)}") from error
    except Exception as error:
        if _is_s3(url) and _is_precondition_failed(error):
            raise ChangedFileError(
                f"{os.fspath(url)}: expected the version that was there before, found another"
            ) from None
        if isinstance(error, OSError) or type(error).__module__.split(".")[0] in {"botocore", "aiobotocore", "aiohttp"}:
            raise StorageError(f"{os.fspath(url)}: can't {action} it: {_one_line(error)}") from error
        raise


def _is_precondition_failed(error: Exception) -> bool:
    from cluster.s3_filesystem import is_precondition_failed

    return is_precondition_failed(error)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _is_part(name: str) -> bool:
    """Whether a local file is what `_replaced_when_done` writes into, or what a killed process left of it."""
    last = name.rsplit("/", 1)[-1]
    return last.startswith(".") and last.endswith(".part")


@contextmanager
def _replaced_when_done(target: Location, *, durable: bool = True) -> Iterator[Path]:
    """A temporary file beside `target`; it takes the target's place when the block ends well."""
    with _part_beside(target) as part:
        yield part
        if durable:
            _make_durable(part)
        part.replace(_local_path(target))


@contextmanager
def _part_beside(target: Location) -> Iterator[Path]:
    """A temporary file beside `target`, which others may read; removed at the end where it still has its name."""
    path = _local_path(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    part = Path(name)
    part.chmod(0o644)
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


def _make_durable(path: Path) -> None:
    with path.open("rb") as written:
        os.fsync(written.fileno())
