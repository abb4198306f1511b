"""An index of tars that others wrote with webdataset, made on first use.

URL/                            what others wrote: *.tar, also in folders
URL/gavt-index/NAME.json        of NAME.tar: which version of it was looked at, and where its samples lie
URL/gavt-index/SUMMARY          versions and samples of all tars that are done, so that the next use needs one file

Where nothing may be written there, the index lies in the node cache's folder.
"""

import hashlib
import logging
import random
import stat
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError

from cluster import node_cache, storage
from cluster.errors import MissingFileError, StorageError, UnreachableError
from cluster.private_folder import is_own, is_private, private_folder
from cluster.storage import FileVersion
from cluster.storage.location import path_of
from pipeline.errors import ShardSetError
from pipeline.shards.foreign.scan import TarIndex, compressed, scan_tar

INDEX_FOLDER = "gavt-index"
_SUMMARY = "SUMMARY"
_AT_ONCE = 8
_HEADS_AT_ONCE = 32
_PROGRESS_S = 5.0
_NAMED = 5
_COMPRESSED = {".tar.gz": "gzip", ".tgz": "gzip", ".tar.zst": "zstandard", ".tar.bz2": "bzip2", ".tar.xz": "xz"}

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ForeignIndex:
    """The tars of a folder or prefix.

    Attributes:
        shards: name (below the URL) and samples of each tar, sorted by name.
        indexes: where `NAME.json` of each lies, with the places of its samples: `{"samples": [{"key", "offset",
            "bytes"}, …]}`.
    """

    shards: list[tuple[str, int]]
    indexes: str


class _TarSummary(BaseModel):
    """What of a tar's index is needed to know that it is still right, and what to say of it."""

    tar: str
    size: int
    etag: str
    samples: int
    left_out: dict[str, int]
    damage: str | None


class _IndexSummary(BaseModel):
    version: int = 1
    tars: list[_TarSummary]


class _UnwritableError(Exception):
    """The index can't be written where it should be."""


def open_foreign(url: str, on_progress: Callable[[], None] = lambda: None) -> ForeignIndex | None:
    """The tars at `url`; None where there are none. What their index lacks, or has of other versions of them, is made:
    several at a time, with the progress in the log, going on where an earlier attempt was killed. Several processes may
    do so at once.

    Args:
        on_progress: called, from any thread, whenever that has come further.

    Raises:
        ShardSetError: a tar is compressed, or none has samples with picture and sound.
        StorageError: a tar can't be read.
    """
    names = _tars_at(url)
    if not names:
        return None
    with ThreadPoolExecutor(_HEADS_AT_ONCE) as threads:
        versions = dict(
            zip(names, threads.map(lambda name: storage.version(storage.join(url, name)), names), strict=True)
        )
    indexes, summaries = _find_or_make(url, versions, on_progress)
    _say_what_is_left_out(url, summaries)
    if not sum(summary.samples for summary in summaries):
        raise ShardSetError(
            f"{url}: expected samples with picture and sound in its {len(names)} tars, found {_left_out(summaries)}"
        )
    return ForeignIndex([(summary.tar, summary.samples) for summary in summaries], indexes)


def _tars_at(url: str) -> list[str]:
    """Names below `url` of its tars.

    Raises:
        ShardSetError: one is compressed.
        StorageError: one has a name that could lie elsewhere.
    """
    names = []
    for file in storage.list_files(url):
        name = storage.name_below(url, file)
        for ending, compression in _COMPRESSED.items():
            if name.lower().endswith(ending):
                raise compressed(file.url, compression)
        if name.endswith(".tar"):
            names.append(name)
    storage.check_names(names, url)  # the index of each has a name of its own, in a local folder too
    return sorted(names)


def _find_or_make(
    url: str, versions: Mapping[str, FileVersion], on_progress: Callable[[], None]
) -> tuple[str, list[_TarSummary]]:
    """The folder of the index, and the summary of each tar."""
    beside = storage.join(url, INDEX_FOLDER)
    folders = _cache_folders(url)  # in a place whose name others can guess: only one of this user's own is believed
    cached = str(folders[-1])
    planted = _leads_where_another_wants(beside)
    for folder, believed in ((beside, not planted), (cached, all(map(is_private, folders)))):
        known = _still_right(folder, versions) if believed else {}
        if len(known) == len(versions):
            return folder, [known[name] for name in versions]
    try:
        if planted:
            raise _UnwritableError(f"{beside}: a link that another user has made")
        return beside, _complete(url, beside, versions, on_progress)
    except _UnwritableError as error:
        _log.warning("%s: the index of its tars lies in %s, since it can't lie beside them: %s", url, cached, error)
    try:
        _make_private(folders)
        return cached, _complete(url, cached, versions, on_progress)
    except _UnwritableError as error:
        raise ShardSetError(f"{url}: the index of its tars can be written nowhere: {error}") from None


def _cache_folders(url: str) -> list[Path]:
    """Where the index lies in the node cache's folder, below the folders that lead there."""
    cache = node_cache.default_folder()
    return [cache, cache / "foreign", cache / "foreign" / hashlib.sha256(url.encode()).hexdigest()[:24]]


def _make_private(folders: Sequence[Path]) -> None:
    try:
        for folder in folders:
            private_folder(folder)
    except (StorageError, OSError) as error:
        raise _UnwritableError(str(error)) from error


def _leads_where_another_wants(folder: str) -> bool:
    """Whether a local folder is a link of another user."""
    if storage.is_remote(folder):
        return False
    try:
        status = path_of(folder).lstat()
    except OSError:
        return False
    return stat.S_ISLNK(status.st_mode) and not is_own(status)


def _still_right(folder: str, versions: Mapping[str, FileVersion]) -> dict[str, _TarSummary]:
    """The summaries in a folder of the tars that have not changed since, by name."""
    return {
        summary.tar: summary
        for summary in _read_summary(folder)
        if versions.get(summary.tar) == FileVersion(summary.size, summary.etag)
    }


def _complete(
    url: str, folder: str, versions: Mapping[str, FileVersion], on_progress: Callable[[], None]
) -> list[_TarSummary]:
    """The summary of each tar, with its index made in `folder` where it is missing or of another version.

    Raises:
        _UnwritableError: it can't be written there.
    """
    known = _still_right(folder, versions)
    place = storage.join(folder, _SUMMARY)
    _write(place, _IndexSummary(tars=list(known.values())))  # before hours go into what can't be written
    missing = [name for name in versions if name not in known]
    # in any order: processes that begin together then seldom make the same one
    known |= _make(url, folder, {name: versions[name] for name in random.sample(missing, len(missing))}, on_progress)
    summaries = [known[name] for name in versions]
    _write(place, _IndexSummary(tars=summaries))
    return summaries


def _read_summary(folder: str) -> list[_TarSummary]:
    content = _read_if_there(storage.join(folder, _SUMMARY))
    if content is None:
        return []
    try:
        return _IndexSummary.model_validate_json(content).tars
    except ValidationError:
        return []  # of another version of this program, say: made anew


def _make(
    url: str, folder: str, versions: Mapping[str, FileVersion], on_progress: Callable[[], None]
) -> dict[str, _TarSummary]:
    made: dict[str, _TarSummary] = {}
    said = time.monotonic()
    _log.info("%s: looking into %d tars, once", url, len(versions))
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        waiting = [
            threads.submit(_make_one, url, folder, name, version, on_progress) for name, version in versions.items()
        ]
        try:
            for done in as_completed(waiting):
                summary = done.result()
                made[summary.tar] = summary
                on_progress()
                if time.monotonic() - said > _PROGRESS_S:
                    said = time.monotonic()
                    _log.info("%s: looked into %d of %d tars", url, len(made), len(versions))
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
    return made


def _make_one(url: str, folder: str, name: str, version: FileVersion, on_progress: Callable[[], None]) -> _TarSummary:
    """The index of a tar: what a killed attempt or another process left, if it is of this version; else made."""
    place = storage.join(folder, name.removesuffix(".tar") + ".json")
    index = _read_index(place, version)
    if index is None:
        index = scan_tar(storage.join(url, name), name, version, on_progress)
        _write(place, index)
    return _TarSummary(
        tar=name,
        size=index.size,
        etag=index.etag,
        samples=len(index.samples),
        left_out=index.left_out,
        damage=index.damage,
    )


def _read_index(place: str, version: FileVersion) -> TarIndex | None:
    content = _read_if_there(place)
    if content is None:
        return None
    try:
        index = TarIndex.model_validate_json(content)
    except ValidationError:
        return None  # of another version of this program, say: made anew
    return index if FileVersion(index.size, index.etag) == version else None


def _read_if_there(url: str) -> bytes | None:
    try:
        return storage.read_bytes(url)
    except MissingFileError:
        return None
    except UnreachableError:
        raise
    except StorageError as error:
        _log.info("%s; it is made anew", error)
        return None


def _write(url: str, content: BaseModel) -> None:
    try:
        storage.write_bytes(url, content.model_dump_json().encode(), durable=False)
    except UnreachableError:
        raise
    except StorageError as error:
        raise _UnwritableError(str(error)) from error


def _say_what_is_left_out(url: str, summaries: Sequence[_TarSummary]) -> None:
    if any(summary.left_out for summary in summaries):
        _log.warning("%s: left out: %s", url, _left_out(summaries))
    damaged = [summary for summary in summaries if summary.damage is not None]
    for summary in damaged[:_NAMED]:
        _log.warning(
            "%s: damaged, %s; the %d samples before that are used",
            storage.join(url, summary.tar),
            summary.damage,
            summary.samples,
        )
    if len(damaged) > _NAMED:
        _log.warning("%s: %d more tars are damaged", url, len(damaged) - _NAMED)


def _left_out(summaries: Sequence[_TarSummary]) -> str:
    counts: Counter[str] = Counter()
    for summary in summaries:
        counts.update(summary.left_out)
    return ", ".join(f"{count} with {reason}" for reason, count in sorted(counts.items())) or "none"
