"""Saving beside training.

A save notes what the states are; a thread of each process copies them to host memory while the next forward and
backward passes run, and training stands still only if the optimiser would step before that is done. The thread then
writes, hashes and syncs its files, and says so in its `rank-00000.json`, last. The main process's thread waits for
those of all, derives `model.safetensors` from them, writes the manifest, moves `latest`, removes old checkpoints and
publishes. The threads meet on the file system only: collectives from two threads at a time would mix with training's.
"""

import json
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from torch import Tensor

from cluster import storage
from cluster.errors import StorageError, UserError
from cluster.process_group import ProcessGroup
from pipeline.errors import CheckpointError
from pipeline.settings.experiment import ExperimentSettings
from pipeline.train.checkpoints.engine_files import TakenFiles, Written, write_state
from pipeline.train.checkpoints.fragments import Fragment, fragments
from pipeline.train.checkpoints.host_copy import HostCopy
from pipeline.train.checkpoints.layout import (
    ENGINE,
    LATEST,
    MANIFEST,
    average_file,
    manifest_text,
    rank_file,
    step_folder,
    swapped_file,
)
from pipeline.train.checkpoints.restore import counters
from pipeline.train.checkpoints.retention import remove, remove_old
from pipeline.train.checkpoints.saved_state import SavedState, describe
from pipeline.train.checkpoints.weights_file import write_all_weights

_POLL_S = 0.02
_GRACE_S = 30.0
"""What a run that ends with an error gives its last save."""
_MOST_UNPUBLISHED = 5
"""Saves in a row whose checkpoints storage did not take; the last of them ends the run."""
_log = logging.getLogger(__name__)


@dataclass
class Saved:
    """A checkpoint that is whole, and published.

    Attributes:
        step: steps done.
        seconds: from its beginning until it was whole, not yet published.
        stalled_s: of these, how long training stood still.
        bytes: of all its files.
    """

    step: int
    seconds: float
    stalled_s: float
    bytes: int


@dataclass
class _Save:
    """One save on its way."""

    step: int
    target: Path
    states: dict[Path, Any]
    fragments: list[dict[str, Any]]
    manifest: dict[str, Any]
    begun: float
    stalled_s: float = 0.0
    taken: threading.Event = field(default_factory=threading.Event)
    written: threading.Event = field(default_factory=threading.Event)
    abandoned: threading.Event = field(default_factory=threading.Event)
    write_error: BaseException | None = None
    commit_error: BaseException | None = None
    publish_error: StorageError | None = None


class Saver:
    """Saves the checkpoints of a run; every process has one, and calls the same of its functions at the same steps.

    Args:
        folder: where the checkpoints go.
        publish: called on the main process, from the saving thread, when a checkpoint is whole. A run goes on while
            storage is away: what one save could not publish is published by the next.

    Attributes:
        stalled_s: seconds that training stood still for saving so far.
    """

    def __init__(
        self,
        folder: Path,
        group: ProcessGroup,
        settings: ExperimentSettings,
        publish: Callable[[], None],
    ) -> None:
        self.stalled_s = 0.0
        self._folder, self._group, self._settings = folder, group, settings
        self._publish = publish
        self._copies = HostCopy()
        self._whole: SimpleQueue[tuple[_Save, float, int]] = SimpleQueue()
        self._save: _Save | None = None
        self._thread: threading.Thread | None = None
        self._hooked: weakref.ref[Any] | None = None
        self._unpublished = 0

    def save(self, engine: Any, step: int, state: Mapping[str, Any], averages: Sequence[Tensor] | None = None) -> None:
        """Save the engine after `step` steps; the save before is waited for.

        Args:
            state: what the loop itself must remember, as JSON.
            averages: moving averages of the tensors that the optimiser steps.

        Raises:
            CheckpointError: the save before failed, or, in the foreground, this one.
            StorageError: storage was away at several saves in a row.
        """
        begun = time.perf_counter()
        self._wait(published=False)
        target = step_folder(self._folder, step)
        try:
            save = self._save = self._take(target, engine, step, state, averages, begun)
        except OSError as error:  # DeepSpeed writes small files of its own at once
            raise _said_plainly(error, target) from error
        self._thread = threading.Thread(target=self._work, args=(save,), name="saving", daemon=True)
        self._thread.start()
        if not self._settings.train.background_saving:
            self._wait(published=False)
        self._count_stall(save, begun)

    def let_change(self) -> None:
        """Wait until the states may change: every process must call it before it changes weights or moments by
        anything but the optimiser's step, which waits by itself."""
        if self._save is not None and not self._save.taken.is_set():
            begun = time.perf_counter()
            self._save.taken.wait()
            self._count_stall(self._save, begun)

    def finish(self) -> None:
        """Wait until the last save is whole and published; on all processes.

        Raises:
            CheckpointError, StorageError: it failed, on some process.
        """
        self._wait(published=True)

    def _wait(self, published: bool) -> None:
        """Wait for the last save, on all processes.

        Args:
            published: whether it is an error that storage did not take it, too.
        """
        save, thread = self._save, self._thread
        if save is None or thread is None:
            return
        save.written.wait()
        failed = self._group.sum([float(save.write_error is not None)])[0]
        if failed:
            save.abandoned.set()
        thread.join()
        self._save = self._thread = None
        if save.write_error is not None:
            raise _said_plainly(save.write_error, save.target) from save.write_error
        if failed:
            raise CheckpointError(f"{save.target}: another process could not write its part; its log says why")
        error = save.commit_error or (save.publish_error if published else None)
        said = self._group.from_main(None if error is None else str(_said_plainly(error, save.target)))
        if error is not None:
            raise _said_plainly(error, save.target) from error
        if said is not None:
            raise CheckpointError(said)

    def whole(self) -> Iterator[Saved]:
        """The checkpoints that have become whole since this was asked last; on the main process only."""
        while not self._whole.empty():
            save, seconds, size = self._whole.get()
            yield Saved(save.step, seconds, save.stalled_s, size)

    def __enter__(self) -> "Saver":
        return self

    def __exit__(self, *_: object) -> None:
        """Where the run ends with an error, give the last save a moment to become whole, without the other processes,
        which may be gone."""
        if self._save is not None and self._thread is not None:
            self._thread.join(_GRACE_S)
            self._save.abandoned.set()
            self._thread.join()

    def _take(
        self,
        target: Path,
        engine: Any,
        step: int,
        state: Mapping[str, Any],
        averages: Sequence[Tensor] | None,
        begun: float,
    ) -> _Save:
        if self._group.is_main and target.exists():
            remove(target)  # a torn save, or one of the same step
        self._group.barrier()
        if self._hooked is None or self._hooked() is not engine:
            engine.basic_optimizer.register_step_pre_hook(lambda *_: self.let_change())
            self._hooked = weakref.ref(engine)  # an engine that was given up shall go
        self._copies.begin(engine.module.buffers())
        files = TakenFiles(self._copies, target)
        engine.checkpoint_engine = files
        engine.save_checkpoint(str(target), tag=ENGINE, save_latest=False)
        if averages is not None and (self._group.is_main or engine.zero_optimization()):
            files.save({"averages": list(averages)}, str(target / average_file(self._group.rank)))
        mine: Iterable[Fragment] = (one for one in fragments(engine, averages) if one.alone or self._group.is_main)
        if engine.zero_nvme_offload_optimizer():  # of which DeepSpeed's files only hold what was in memory
            mine = [replace(one, kinds={kind: piece.clone() for kind, piece in one.kinds.items()}) for one in mine]
            files.save({one.name: one.kinds for one in mine}, str(target / swapped_file(self._group.rank)))
        places = describe(mine, self._copies)
        manifest = self._manifest(engine, step, state) if self._group.is_main else {}
        self._copies.end()
        return _Save(step, target, files.states, places, manifest, begun)

    def _manifest(self, engine: Any, step: int, state: Mapping[str, Any]) -> dict[str, Any]:
        run_id = self._folder.parent / "wandb" / "run_id"
        train = self._settings.train
        return {
            "step": step,
            "time": round(time.time(), 3),
            "world_size": self._group.world_size,
            "zero_stage": train.zero_stage,
            "precision": train.precision,
            "engine": counters(engine),
            "state": dict(state),
            "settings": self._settings.model_dump(mode="json"),
            "versions": {name: version(name) for name in ("gavt", "torch", "deepspeed")},
            "wandb_run_id": run_id.read_text().strip() if run_id.exists() else None,
        }

    def _count_stall(self, save: _Save, begun: float) -> None:
        seconds = time.perf_counter() - begun
        save.stalled_s += seconds
        self.stalled_s += seconds

    def _work(self, save: _Save) -> None:
        try:
            try:
                self._copies.take()
            finally:
                save.taken.set()
            self._write(save)
        except BaseException as error:
            save.write_error = error
            _log.error("%s", _said_plainly(error, save.target))
            return
        finally:
            save.written.set()
        if not self._group.is_main:
            return
        try:
            self._commit(save)
        except BaseException as error:
            save.commit_error = error
            _log.error("%s", _said_plainly(error, save.target))

    def _write(self, save: _Save) -> None:
        """Write this process's files."""
        written = [write_state(state, file, save.target) for file, state in save.states.items()]
        said = {"files": [asdict(file) for file in written], "fragments": save.fragments}
        storage.write_text(save.target / rank_file(self._group.rank), json.dumps(said))

    def _commit(self, save: _Save) -> None:
        """Make the checkpoint whole, once every process has written its files."""
        files: list[Written] = []
        for rank in range(self._group.world_size):
            file = save.target / rank_file(rank)
            while not file.exists():
                if save.abandoned.wait(_POLL_S):
                    return
            files += [Written(**entry) for entry in json.loads(file.read_text())["files"]]
        saved = SavedState(save.target, self._group.world_size)
        files += write_all_weights(saved)
        known = {file.name for file in files}
        for file in sorted(save.target.rglob("*")):
            name = str(file.relative_to(save.target))
            if file.is_file() and name not in known:
                files.append(Written(name, file.stat().st_size, storage.sha256(file)))
        files.sort(key=lambda file: file.name)
        for folder in {(save.target / file.name).parent for file in files}:
            _sync_folder(folder)
        manifest = save.manifest | {"files": [asdict(file) for file in files]}
        storage.write_text(save.target / MANIFEST, manifest_text(manifest))
        storage.write_text(self._folder / LATEST, save.target.name)
        seconds = time.perf_counter() - save.begun
        remove_old(self._folder, save.step, self._settings.train.keep_last, self._settings.train.keep_every)
        try:
            self._publish()
        except StorageError as error:
            self._unpublished += 1
            if self._unpublished == _MOST_UNPUBLISHED:
                raise
            save.publish_error = error
            _log.error("%s is whole, but here only: %s", save.target, error)
            return
        self._unpublished = 0
        self._whole.put((save, seconds, sum(file.bytes for file in files)))


def _said_plainly(error: BaseException, target: Path) -> BaseException:
    """What a person can do something about as one sentence; anything else as it is."""
    if isinstance(error, OSError) and not isinstance(error, UserError):
        return CheckpointError(f"{target}: the checkpoint can't be written: {error.strerror or error}")
    return error


def _sync_folder(folder: Path) -> None:
    """Have the names in a folder on disk too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
