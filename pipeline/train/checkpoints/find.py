"""Finding whole checkpoints."""

import contextlib
import logging
from collections.abc import Iterator

from cluster import storage
from cluster.process_group import ProcessGroup
from cluster.storage import Location
from pipeline.errors import CheckpointError
from pipeline.train.checkpoints.layout import LATEST, MANIFEST, Checkpoint, TornError, read_manifest, step_folder
from pipeline.train.checkpoints.listing import list_checkpoints
from pipeline.train.checkpoints.retention import steps_in
from pipeline.train.checkpoints.verify import verify

_log = logging.getLogger(__name__)


def newest_checkpoint(folder: Location, group: ProcessGroup | None = None) -> Checkpoint | None:
    """The newest whole checkpoint below `folder` (path or URL); torn and damaged ones are passed over with a warning.

    Args:
        group: processes that look for it together: one reads the manifests, and each hashes its share of the files.

    Raises:
        CheckpointError: there were whole ones, and all are damaged; a run shall not begin anew without being told.
        StorageError: something can't be read.
    """
    first: CheckpointError | None = None
    for target in _newest_first(folder, group):
        try:
            return _whole(target, group)
        except TornError as error:
            _warn(group, "%s; an older checkpoint is used", error)
        except CheckpointError as error:
            _warn(group, "%s; an older checkpoint is used", error)
            first = first or error
    if first is not None:
        raise CheckpointError(f"{first}; there is no older one to go on from: remove {folder} to start anew")
    return None


def older_checkpoints(folder: Location, than: Checkpoint, group: ProcessGroup | None = None) -> Iterator[Checkpoint]:
    """The whole checkpoints below `folder` that are older than one, newest first; as `newest_checkpoint` reads them."""
    for target in _newest_first(folder, group):
        if target < step_folder(folder, than.step):
            with contextlib.suppress(CheckpointError):
                yield _whole(target, group)


def _newest_first(folder: Location, group: ProcessGroup | None) -> list[str]:
    def steps() -> list[int]:
        return sorted(steps_in(folder), reverse=True)

    return [step_folder(folder, step) for step in (steps() if group is None else group.on_main(steps))]


def _whole(target: str, group: ProcessGroup | None) -> Checkpoint:
    checkpoint = read_manifest(target) if group is None else group.on_main(lambda: read_manifest(target))
    verify(checkpoint, group)
    return checkpoint


def _warn(group: ProcessGroup | None, message: str, error: CheckpointError) -> None:
    if group is None or group.is_main:
        _log.warning(message, error)


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
