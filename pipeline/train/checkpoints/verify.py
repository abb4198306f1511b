"""Whether a checkpoint's files are what was saved."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cluster import storage
from cluster.errors import MissingFileError, StorageError
from cluster.process_group import ProcessGroup
from pipeline.errors import CheckpointError
from pipeline.train.checkpoints.layout import MANIFEST, Checkpoint, damaged
from pipeline.train.checkpoints.share import sections_of

_AT_ONCE = 32 << 20
_READERS = 2
"""Pieces of a file read at a time."""
_FILES = 4
"""Files hashed at a time."""


def verify(checkpoint: Checkpoint, group: ProcessGroup | None = None) -> None:
    """Compare every file with the manifest.

    Args:
        group: processes that share the files out between them; each of them must call it.

    Raises:
        CheckpointError: the first that is missing or damaged.
        StorageError: one can't be read.
    """
    if group is None:
        first = next(problems(checkpoint), None)
    else:
        own = group.each(lambda: next(problems(checkpoint, group.rank, group.world_size), None))
        first = next((one for one in group.gather_objects(own) if one is not None), None)
    if first is not None:
        raise CheckpointError(first)


def problems(checkpoint: Checkpoint, part: int = 0, parts: int = 1) -> Iterator[str]:
    """A sentence for every file of a checkpoint, local or on storage, that is missing or is not what was saved.

    Args:
        part, parts: look at the files of one of so many equal parts only.
    """
    if not checkpoint.intact:
        yield damaged(storage.join(checkpoint.url, MANIFEST))
    if not checkpoint.manifest["files"]:
        yield f"{storage.join(checkpoint.url, MANIFEST)}: expected files of the checkpoint, found none"
    with ThreadPoolExecutor(_FILES) as readers:
        files = checkpoint.manifest["files"][part::parts]
        found = readers.map(lambda entry: _problem(checkpoint.url, entry), files)
        yield from (problem for problem in found if problem is not None)


def _problem(url: str, entry: dict[str, Any]) -> str | None:
    file, sections = storage.join(url, entry["name"]), sections_of(entry)
    try:
        size = storage.size(file)
    except MissingFileError:
        return f"{file}: missing from its checkpoint"
    if size != entry["bytes"] or sum(section.bytes for section in sections) != size:
        return damaged(file)
    parts = [
        (section, at, min(_AT_ONCE, section.start + section.bytes - at))
        for section in sections
        for at in range(section.start, section.start + section.bytes, _AT_ONCE)
    ]
    contents = storage.read_parts(((file, at, length, None) for _, at, length in parts), _READERS)
    digest = hashlib.sha256()
    for (section, at, length), content in zip(parts, contents, strict=True):
        if isinstance(content, StorageError):
            raise content
        digest.update(content)
        if at + length == section.start + section.bytes:
            if digest.hexdigest() != section.sha256:
                return damaged(file)
            digest = hashlib.sha256()
    return None
