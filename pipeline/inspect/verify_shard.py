"""Whether one shard is whole: its hash, its size, and every sample in it, decoded."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cluster import storage
from cluster.errors import StorageError
from pipeline.inspect.verify_sample import problems_of
from pipeline.prepare.layouts.sample import key_of
from pipeline.shards.ledger import InputEntry
from pipeline.shards.shard_files import ShardIndex, shard_name

_MOST_TOLD = 20
_SHORTEST_TAIL, _LONGEST_TAIL = 1024, 10240 + 1024  # bytes: two empty blocks, filled up to a record


@dataclass(frozen=True)
class Problem:
    """What is wrong, where.

    Attributes:
        file: name of the file in the shard set.
        key: key of the sample, where it is one sample's.
    """

    file: str
    key: str | None
    what: str

    def __str__(self) -> str:
        return f"{self.file}: {self.what}" if self.key is None else f"{self.file}: sample {self.key}: {self.what}"


@dataclass
class ShardFound:
    """What checking a shard found.

    Attributes:
        problems: at most 20; `more` says how many there are besides.
        tar_sha256: of the tar as it is; None where there is none.
        index_sha256: what the shard's JSON says that it is.
        videos: how many gave it samples.
        inputs: how many videos it tells of.
        inputs_sha256: of their lines, as they must be in the ledger.
        videos_sha256: of their ids, as they must be in the plan.
        reasons: why how many of them failed.
    """

    number: int
    problems: list[Problem] = field(default_factory=list)
    more: int = 0
    bytes: int = 0
    samples: int = 0
    videos: int = 0
    tar_sha256: str | None = None
    index_sha256: str | None = None
    inputs: int = 0
    inputs_sha256: str = ""
    videos_sha256: str = ""
    reasons: Counter[str] = field(default_factory=Counter)


def check_shard(url: str, number: int, settings: dict[str, Any] | None) -> ShardFound:
    """Check a shard of the shard set at `url`, sample by sample.

    Args:
        settings: the recipe, where the plan is there.
    """
    found = ShardFound(number)
    name = shard_name(number)
    for problem in _problems(url, name, settings, found):
        if len(found.problems) < _MOST_TOLD:
            found.problems.append(problem)
        else:
            found.more += 1
    return found


def digest_of_lines(entries: list[InputEntry]) -> str:
    """SHA-256 of these lines of a ledger."""
    return hashlib.sha256("".join(f"{entry.model_dump_json()}\n" for entry in entries).encode()).hexdigest()


def digest_of_ids(videos: list[str]) -> str:
    """SHA-256 of the ids of videos, in order."""
    return hashlib.sha256("\n".join(videos).encode()).hexdigest()


def _problems(url: str, name: str, settings: dict[str, Any] | None, found: ShardFound) -> Iterator[Problem]:
    try:
        index = ShardIndex.model_validate_json(storage.read_bytes(storage.join(url, f"{name}.json")))
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"])) or "content"
        yield Problem(f"{name}.json", None, f"expected the JSON of a shard, found another ({place}: {problem['msg']})")
        index = None
    except StorageError as error:
        yield Problem(f"{name}.json", None, f"it can't be read ({error})")
        index = None
    if index is not None:
        found.index_sha256 = index.sha256
        found.inputs = len(index.inputs)
        found.inputs_sha256 = digest_of_lines(index.inputs)
        found.videos_sha256 = digest_of_ids([entry.video for entry in index.inputs])
        found.samples = len(index.samples)
        found.videos = sum(entry.samples > 0 for entry in index.inputs)
        found.reasons.update(entry.reason for entry in index.inputs if entry.reason)
        yield from (Problem(f"{name}.json", key, what) for key, what in _index(index))
    try:
        with storage.local_copy(storage.join(url, f"{name}.tar")) as tar:
            found.bytes = tar.stat().st_size
            found.tar_sha256 = storage.sha256(tar)
            if index is not None:
                yield from (Problem(f"{name}.tar", key, what) for key, what in _tar(tar, index, settings))
    except (StorageError, OSError) as error:
        yield Problem(f"{name}.tar", None, f"it can't be read ({error})")


def _index(index: ShardIndex) -> Iterator[tuple[str | None, str]]:
    """(key, what) is wrong with the JSON by itself: samples follow each other, and belong to the videos in order."""
    place = 0
    keys: set[str] = set()
    for entry in index.samples:
        if entry.offset != place:
            yield entry.key, f"expected it at byte {place}, behind the sample before it, found byte {entry.offset}"
        if entry.key in keys:
            yield entry.key, "it is there twice"
        keys.add(entry.key)
        place = entry.offset + entry.bytes
    given = sum(entry.samples for entry in index.inputs)
    if given != len(index.samples):
        yield None, f"expected {given} samples as its videos gave, found {len(index.samples)}"
        return
    samples = iter(index.samples)
    for video in index.inputs:
        start = f"{key_of(video.video)}_"
        for _ in range(video.samples):
            sample = next(samples)
            if not sample.key.startswith(start):
                yield sample.key, f"expected a sample of the video {video.video!r} here, with a key such as {start}0000"


def _tar(tar: Path, index: ShardIndex, settings: dict[str, Any] | None) -> Iterator[tuple[str | None, str]]:
    """(key, what) is wrong with the tar, read once from front to end."""
    size = tar.stat().st_size
    if size != index.bytes:
        yield None, f"expected {index.bytes} bytes, found {size}"
    with tar.open("rb") as file:
        end = 0
        for entry in index.samples:
            file.seek(entry.offset)
            content = file.read(entry.bytes)
            if len(content) < entry.bytes:
                yield entry.key, f"expected {entry.bytes} bytes from byte {entry.offset}, found the end of the tar"
                continue
            for what in problems_of(content, entry, settings):
                yield entry.key, what
            end = entry.offset + entry.bytes
        file.seek(end)
        tail = file.read(_LONGEST_TAIL + 1)
    if size == index.bytes and (any(tail) or not _SHORTEST_TAIL <= len(tail) <= _LONGEST_TAIL):
        yield None, "expected zeros behind the last sample, the end mark of a tar, found something else"
