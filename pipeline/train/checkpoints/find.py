"""Finding whole checkpoints."""

import contextlib
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from cluster import storage
from pipeline.errors import CheckpointError
from pipeline.train.checkpoints.layout import LATEST, MANIFEST, Checkpoint, damaged, read_manifest
from pipeline.train.checkpoints.listing import list_checkpoints

_log = logging.getLogger(__name__)
_READERS = 8
"""Files hashed at a time."""


def newest_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest whole checkpoint below `folder`; torn and damaged ones are passed over with a warning.

    Raises:
        CheckpointError: there were whole ones, and all are damaged; a run shall not begin anew without being told.
    """
    first: CheckpointError | None = None
    for target in sorted(folder.glob("step-*"), reverse=True):
        if not (target / MANIFEST).exists():
            _log.warning("%s: no %s, so this save never finished; an older checkpoint is used", target, MANIFEST)
            continue
        try:
            checkpoint = read_manifest(str(target))
            verify(checkpoint)
        except CheckpointError as error:
            _log.warning("%s; an older checkpoint is used", error)
            first = first or error
            continue
        return checkpoint
    if first is not None:
        raise CheckpointError(f"{first}; there is no older one to go on from: remove {folder} to start anew")
    return None


def find_checkpoint(url: str) -> Checkpoint:
    """The checkpoint that a run folder, a folder of checkpoints or a step's folder (path or URL) names.

    Raises:
        CheckpointError: none there.
    """
    if storage.exists(storage.join(url, MANIFEST)):
        return read_manifest(url)
    for folder in (storage.join(url, "checkpoints"), url):
        latest = storage.join(folder, LATEST)
        name = storage.read_text(latest).strip() if storage.exists(latest) else ""
        if storage.why_not_below(name) is None and storage.exists(storage.join(folder, name, MANIFEST)):
            return read_manifest(storage.join(folder, name))
    with contextlib.suppress(CheckpointError):  # there are none
        # somebody has removed the newest, or copied the checkpoints alone
        whole = [one.checkpoint for one in list_checkpoints(url) if one.checkpoint and one.checkpoint.intact]
        if whole:
            return whole[-1]
    raise CheckpointError(f"{url}: expected a run folder or a checkpoint with a {MANIFEST}, found none")


def verify(checkpoint: Checkpoint) -> None:
    """Compare every file with the manifest.

    Raises:
        CheckpointError: the first that is missing or damaged.
    """
    for problem in problems(checkpoint):
        raise CheckpointError(problem)


def problems(checkpoint: Checkpoint) -> Iterator[str]:
    """A sentence for every file of a checkpoint, local or on storage, that is missing or is not what was saved."""
    if not checkpoint.intact:
        yield damaged(storage.join(checkpoint.url, MANIFEST))
    if not checkpoint.manifest["files"]:
        yield f"{storage.join(checkpoint.url, MANIFEST)}: expected files of the checkpoint, found none"
    with ThreadPoolExecutor(_READERS) as readers:
        found = readers.map(lambda entry: _problem(checkpoint.url, entry), checkpoint.manifest["files"])
        yield from (problem for problem in found if problem is not None)


def _problem(url: str, entry: dict[str, Any]) -> str | None:
    file = storage.join(url, entry["name"])
    if not storage.exists(file):
        return f"{file}: missing from its checkpoint"
    if storage.size(file) != entry["bytes"]:
        return damaged(file)
    with storage.local_copy(file) as local:
        return damaged(file) if storage.sha256(local) != entry["sha256"] else None
