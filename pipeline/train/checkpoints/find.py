"""Finding whole checkpoints."""

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TypeVar

from cluster import storage
from cluster.process_group import ProcessGroup
from cluster.storage import Location
from pipeline.errors import CheckpointError
from pipeline.train.checkpoints.layout import (
    LATEST,
    MANIFEST,
    Checkpoint,
    DamagedError,
    TornError,
    damaged,
    read_manifest,
    step_folder,
)
from pipeline.train.checkpoints.listing import list_checkpoints
from pipeline.train.checkpoints.retention import steps_in

T = TypeVar("T")
U = TypeVar("U")
_log = logging.getLogger(__name__)


def go_on_from(
    folder: Location,
    load: Callable[[Checkpoint], T],
    group: ProcessGroup | None = None,
    order: Callable[[Iterator[Checkpoint]], Iterable[Checkpoint]] = iter,
) -> T | None:
    """What `load` makes of the newest checkpoint below `folder` (path or URL) that is whole as far as it reads it. Torn
    and damaged ones are passed over with a warning. None where there is none.

    Args:
        load: raises `DamagedError` where what it reads is not what was saved; alike on all processes.
        group: processes that go on together: one of them reads the manifests.
        order: in which checkpoints are tried, of them all, newest first; their manifests are read as they are asked
            for.

    Raises:
        CheckpointError: there were whole ones, and all are damaged; a run shall not begin anew without being told.
        StorageError: something can't be read.
    """
    faults: list[str] = []

    def pass_over(error: CheckpointError) -> None:
        if group is None or group.is_main:
            _log.warning("%s; an older checkpoint is used", error)
        if not isinstance(error, TornError):
            faults.append(str(error))  # the error itself would keep what was read in memory

    for checkpoint in order(_newest_first(folder, group, pass_over)):
        try:
            return load(checkpoint)
        except DamagedError as error:
            pass_over(error)
    if faults:
        raise CheckpointError(f"{faults[0]}; there is no older one to go on from: remove {folder} to start anew")
    return None


def _newest_first(
    folder: Location, group: ProcessGroup | None, pass_over: Callable[[CheckpointError], None]
) -> Iterator[Checkpoint]:
    def on_main(make: Callable[[], U]) -> U:
        return make() if group is None else group.on_main(make)

    for step in on_main(lambda: sorted(steps_in(folder), reverse=True)):
        target = step_folder(folder, step)
        try:
            checkpoint = on_main(partial(read_manifest, target))
            if not checkpoint.intact:
                raise DamagedError(damaged(storage.join(target, MANIFEST)))
        except CheckpointError as error:
            pass_over(error)
        else:
            yield checkpoint


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
