"""Saving beside training.

A save notes what the states are; a thread of each process copies them to host memory while the next forward and
backward passes run, and training stands still only if the optimiser would step before that is done. The thread then
writes, hashes and syncs its files, and says so in its `rank-00000.json`, last. The main process's thread waits for
those of all, derives `model.safetensors` from them, writes the manifest, moves `latest`, removes old checkpoints and
publishes. The threads meet on the file system only: collectives from two threads at a time would mix with training's.
"""

import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from torch import Tensor

from cluster.errors import StorageError
from cluster.process_group import ProcessGroup
from pipeline.errors import CheckpointError
from pipeline.train.checkpoints.commit import make_whole, write_files
from pipeline.train.checkpoints.layout import step_folder
from pipeline.train.checkpoints.retention import remove_old
from pipeline.train.checkpoints.save import Save, Saved, plain_error
from pipeline.train.checkpoints.snapshot import StateTaker
from pipeline.train.engine.engine import Engine
from pipeline.train.run_settings import RunSettings

_GRACE_S = 30.0
"""What a run that ends with an error gives its last save."""
_MOST_UNPUBLISHED = 5
"""Saves in a row whose checkpoints storage did not take; the last of them ends the run."""
_log = logging.getLogger(__name__)


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
        settings: RunSettings,
        publish: Callable[[], None],
    ) -> None:
        self.stalled_s = 0.0
        self._folder, self._group, self._settings = folder, group, settings
        self._publish = publish
        self._taker = StateTaker(group, settings)
        self._hooked: weakref.ref[Engine] | None = None
        self._whole: SimpleQueue[tuple[Save, float, int]] = SimpleQueue()
        self._save: Save | None = None
        self._thread: threading.Thread | None = None
        self._unpublished = 0

    def save(
        self, engine: Engine, step: int, state: Mapping[str, Any], averages: Sequence[Tensor] | None = None
    ) -> None:
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
        self._hook(engine)
        target = step_folder(self._folder, step)
        try:
            save = self._save = self._taker.take(target, engine, step, state, averages, begun)
        except OSError as error:  # DeepSpeed writes small files of its own at once
            raise plain_error(error, target) from error
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
        (save.abandoned if failed else save.written_by_all).set()
        thread.join()
        self._save = self._thread = None
        if save.write_error is not None:
            raise plain_error(save.write_error, save.target) from save.write_error
        if failed:
            raise CheckpointError(f"{save.target}: another process could not write its part; its log says why")
        error = save.commit_error or (save.publish_error if published else None)
        said = self._group.from_main(None if error is None else str(plain_error(error, save.target)))
        if error is not None:
            raise plain_error(error, save.target) from error
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

    def _hook(self, engine: Engine) -> None:
        """Have the optimiser of the engine wait until the states may change."""
        if self._hooked is None or self._hooked() is not engine:
            engine.before_step(self.let_change)
            self._hooked = weakref.ref(engine)  # an engine that was given up shall go

    def _count_stall(self, save: Save, begun: float) -> None:
        seconds = time.perf_counter() - begun
        save.stalled_s += seconds
        self.stalled_s += seconds

    def _work(self, save: Save) -> None:
        try:
            try:
                self._taker.copies.take()
            finally:
                save.taken.set()
            write_files(save, self._group.rank)
        except BaseException as error:
            save.write_error = error
            _log.error("%s", plain_error(error, save.target))
            return
        finally:
            save.written.set()
        if not self._group.is_main:
            return
        try:
            self._commit(save)
        except BaseException as error:
            save.commit_error = error
            _log.error("%s", plain_error(error, save.target))

    def _commit(self, save: Save) -> None:
        """Make the checkpoint whole, once every process has written its files, and publish it."""
        files = make_whole(save, self._group.world_size)
        if files is None:
            return
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
