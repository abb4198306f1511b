"""A checkpoint's files written by every process, and the checkpoint made whole by the main one."""

import json
import time
import zlib
from collections.abc import Callable

from cluster import storage
from cluster.reports import Reports
from cluster.storage.location import path_of
from pipeline.errors import CheckpointError
from pipeline.train.checkpoints.layout import LATEST, MANIFEST, manifest_text, rank_file
from pipeline.train.checkpoints.save import Save
from pipeline.train.checkpoints.saved_state import describe, rows_of
from pipeline.train.engine.fragments import EMA

_SEEN_S = 180.0
"""Until files that another machine has written are seen here; NFS takes up to a minute."""
_POLL_S = 0.5


def write_share(save: Save, content: memoryview, rank: int) -> bytes:
    """Write this process's file to where the run lies, if it holds anything that is its to save; what is to be
    reported of it.

    Raises:
        OSError, StorageError: it can't be written.
    """
    files = []
    if any(piece.size for piece in save.pieces):
        files = [save.layout.seal(rank_file(rank), content)]
        storage.write_bytes(storage.join(save.target, rank_file(rank)), content)
    rows = rows_of(save.pieces, save.layout)
    return zlib.compress(json.dumps({"files": files, "rows": rows}).encode(), 1)


def make_whole(save: Save, reports: Reports, given_up: Callable[[], bool]) -> int | None:
    """Wait for the reports of all processes, write the manifest and move `latest`; bytes of all files, or None where
    the save was abandoned before.

    Raises:
        CheckpointError: what another process has written is not seen here.
        OSError, StorageError: something can't be written.
    """
    found = reports.collect(save.number, given_up)
    if found is None:
        return None
    said = [json.loads(zlib.decompress(report)) for report in found]
    files = [file for one in said for file in one["files"]]
    tensors = describe((rank, row) for rank, one in enumerate(said) for row in one["rows"])
    has_average = any(EMA in held[-1] for entry in tensors.values() for held in entry["held"])
    if not storage.is_remote(save.target):
        _see_all(save.target, {file["name"] for file in files})
        storage.make_durable(path_of(save.target))
    manifest = save.manifest | {"has_average": has_average, "files": files, "tensors": tensors}
    storage.write_text(storage.join(save.target, MANIFEST), manifest_text(manifest))
    checkpoints, name = save.target.rsplit("/", 1)
    storage.write_text(storage.join(checkpoints, LATEST), name)
    return sum(int(file["bytes"]) for file in files)


def _see_all(folder: str, names: set[str]) -> None:
    """Wait until the files that other processes have written are there."""
    end = time.monotonic() + _SEEN_S
    while lacking := names - {storage.name_below(folder, file) for file in storage.list_files(folder)}:
        if time.monotonic() > end:
            raise CheckpointError(
                f"{storage.join(folder, min(lacking))}: expected what another process has written, found nothing: the "
                "machines of a job need a run folder on storage (s3://) or on a file system that they share"
            )
        time.sleep(_POLL_S)
