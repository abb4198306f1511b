"""A checkpoint's files written by every process, and the checkpoint made whole by the main one."""

import json
import time
from dataclasses import asdict
from pathlib import Path

from cluster import storage
from pipeline.errors import CheckpointError
from pipeline.train.checkpoints.layout import LATEST, MANIFEST, manifest_text, rank_file
from pipeline.train.checkpoints.save import Save
from pipeline.train.checkpoints.saved_state import SavedState
from pipeline.train.checkpoints.weights_file import write_all_weights
from pipeline.train.checkpoints.written_file import Written, write_state

_POLL_S = 0.02
_SEEN_S = 180.0
"""Until files that another machine has written are seen here; NFS takes up to a minute."""


def write_files(save: Save, rank: int) -> None:
    """Write this process's files, and say so in its `rank-00000.json`, last.

    Raises:
        OSError, StorageError: they can't be written.
    """
    written = [write_state(state, file, save.target) for file, state in save.states.items()]
    said = {"files": [asdict(file) for file in written], "fragments": save.fragments}
    storage.write_text(save.target / rank_file(rank), json.dumps(said))


def make_whole(save: Save, world_size: int) -> list[Written] | None:
    """Wait for the files of all processes, derive the weights from them, write the manifest and move `latest`; all
    files, or None where the save was abandoned before.

    Raises:
        CheckpointError: what another process has written is not seen here.
        OSError, StorageError: something can't be written.
    """
    files: list[Written] = []
    for rank in range(world_size):
        file = save.target / rank_file(rank)
        if not _comes(file, save):
            return None
        files += [Written(**entry) for entry in json.loads(file.read_text(encoding="utf-8"))["files"]]
    files += write_all_weights(SavedState(save.target, world_size))
    known = {file.name for file in files}
    for file in sorted(save.target.rglob("*")):
        name = str(file.relative_to(save.target))
        if file.is_file() and name not in known:
            files.append(Written(name, file.stat().st_size, storage.sha256(file)))
    files.sort(key=lambda file: file.name)
    for folder in {(save.target / file.name).parent for file in files}:
        storage.make_durable(folder)
    manifest = save.manifest | {"files": [asdict(file) for file in files]}
    storage.write_text(save.target / MANIFEST, manifest_text(manifest))
    storage.write_text(save.target.parent / LATEST, save.target.name)
    return files


def _comes(file: Path, save: Save) -> bool:
    """Wait until another process's file is there; false where the save was abandoned before."""
    end = None
    while not file.exists():
        if save.abandoned.wait(_POLL_S):
            return False
        if end is None and save.written_by_all.is_set():
            end = time.monotonic() + _SEEN_S
        if end is not None and time.monotonic() > end:
            raise CheckpointError(
                f"{file}: expected what another process has written, found nothing: the machines of a job need a run "
                "folder on a file system that they share"
            )
    return True
