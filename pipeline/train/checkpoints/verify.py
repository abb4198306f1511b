"""Whether a checkpoint's files are what was saved."""

import hashlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cluster import storage
from cluster.errors import MissingFileError, StorageError
from pipeline.errors import CheckpointError
from pipeline.train.checkpoints.layout import MANIFEST, Checkpoint, DamagedError, damaged, missing
from pipeline.train.checkpoints.share import SavedFile
from pipeline.train.checkpoints.share_reader import AT_ONCE, Part, ShareReader

_READERS = 2
"""Pieces of an export's file read at a time."""
_FILES = 4
"""Files hashed at a time."""


def problems(checkpoint: Checkpoint) -> Iterator[str]:
    """A sentence for every file of a checkpoint, local or on storage, that is missing or is not what was saved."""
    if not checkpoint.intact:
        yield damaged(storage.join(checkpoint.url, MANIFEST))
    if not checkpoint.manifest["files"]:
        yield f"{storage.join(checkpoint.url, MANIFEST)}: expected files of the checkpoint, found none"
    with ThreadPoolExecutor(_FILES) as readers:
        found = readers.map(lambda entry: _problem(checkpoint, entry), checkpoint.manifest["files"])
        yield from (problem for problem in found if problem is not None)


def _problem(checkpoint: Checkpoint, entry: Mapping[str, Any]) -> str | None:
    file = storage.join(checkpoint.url, entry["name"])
    try:
        if storage.size(file) != entry["bytes"]:
            return damaged(file)
    except MissingFileError:
        return missing(file)
    if checkpoint.is_export:
        return None if _sha256(file, entry["bytes"]) == entry["sha256"] else damaged(file)
    try:
        saved = SavedFile.of(entry)
    except (KeyError, TypeError, ValueError) as error:
        manifest = storage.join(checkpoint.url, MANIFEST)
        raise CheckpointError(f"{manifest}: not a checkpoint's manifest: {error}") from None
    begins = range(saved.header_bytes, saved.size, AT_ONCE)
    parts = [Part(saved, begin, min(saved.size, begin + AT_ONCE)) for begin in begins]
    try:
        for _ in ShareReader(checkpoint.url).fill(parts, lambda part: part.memory()[0]):
            pass
    except DamagedError as error:
        return str(error)
    return None


def _sha256(file: str, size: int) -> str:
    digest = hashlib.sha256()
    parts = ((file, at, min(AT_ONCE, size - at), None) for at in range(0, size, AT_ONCE))
    for content in storage.read_parts(parts, _READERS):
        if isinstance(content, StorageError):
            raise content
        digest.update(content)
    return digest.hexdigest()
