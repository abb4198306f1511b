"""Saving beside training.

A save notes what the states are; a thread of each process copies them to host memory while the next forward and
backward passes run, and training stands still only if the optimiser would step before that is done. The thread then
writes its file to where the run lies, a local disk or `s3://`, and reports what is in it. The main process's thread
waits for the reports of all, writes the manifest, moves `latest` and removes old checkpoints. The threads
meet at the job's store only (`cluster.reports`): collectives from two threads at a time would mix with training's.
"""

import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from queue import SimpleQueue
from typing import Any

from torch import Tensor

from cluster import storage
from cluster.errors import StorageError
from cluster.process_group import ProcessGroup
from cluster.reports import Reports
from cluster.storage import Location
from pipeline.errors import CheckpointError
from pipeline.train.checkpoints.commit import make_whole, write_share
from pipeline.train.checkpoints.retention import Retention
from pipeline.train.checkpoints.save import Save, Saved, plain_error
from pipeline.train.checkpoints.snapshot import StateTaker
from pipeline.train.engine.engine import Engine
from pipeline.train.run_settings import RunSettings

_GRACE_S = 30.0
"""What a run that ends with an error gives its last save."""
_MOST_LOST = 5
"""Saves in a row that storage did not take; the last of them ends the run."""
_log = logging.getLogger(__name__)


class Saver:
    """Saves the checkpoints of a run; every process has one, and calls the same of its functions at the same steps.

    Args:
        folder: where the checkpoints go (path or URL).
        publish: brings what this process has to say of the run to where that lies; called from the saving thread,
            before a checkpoint becomes whole. A run goes on while storage is away, without the saves that it misses.

    Attributes:
        stalled_s: seconds that training stood still for saving so far.
    """

    def __init__(
        self,
        folder: Location,
        group: ProcessGroup,
        settings: RunSettings,
        publish: Callable[[], None],
    ) -> None:
        self.stalled_s = 0.0
        self._folder, self._group, self._settings = storage.absolute(folder), group, settings
        self._publish = publish
        self._taker = StateTaker(self._folder, group, settings)
        self._reports = Reports(group)
        self._retention = Retention(self._folder, settings.train.keep_last, settings.train.keep_every)
        self._hooked: weakref.ref[Engine] | None = None
        self._whole: SimpleQueue[tuple[Save, float, int]] = SimpleQueue()
        self._save: Save | None = None
        self._thread: threading.Thread | None = None
        self._lost = 0

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
        self._wait(last=False)
        self._hook(engine)
        save = self._save = self._taker.take(engine, step, state, averages, begun)
        self._thread = threading.Thread(target=self._work, args=(save,), name="saving", daemon=True)
        self._thread.start()
        if not self._settings.train.background_saving:
            self._wait(last=False)
        self._count_stall(save, begun)

    def let_change(self) -> None:
        """Wait until the states may change: every process must call it before it changes weights or states by
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
        self._wait(last=True)

    def _wait(self, last: bool) -> None:
        """Wait for the last save, on all processes.

        Args:
            last: whether none will follow, so that what it lacks is an error, whatever it was.
        """
        save, thread = self._save, self._thread
        if save is None or thread is None:
            return
        save.written.wait()
        if self._group.sum([float(save.error is not None)])[0]:
            save.abandoned.set()
        thread.join()
        self._save = self._thread = None
        faults = self._group.gather_objects(save.fault)
        found = [(rank, fault) for rank, fault in enumerate(faults) if fault is not None]
        if not found:
            self._lost = 0
            return
        self._lost += 1
        if not last and self._lost < _MOST_LOST and all(fault.passes for _, fault in found):
            return
        if save.error is not None:
            raise plain_error(save.error, save.target) from save.error
        rank, fault = found[0]
        raise CheckpointError(
            fault.said if rank == 0 else f"{save.target}: process {rank} could not write its part: {fault.said}"
        )

    def whole(self) -> Iterator[Saved]:
        """The checkpoints that have become whole since this was asked last; on the main process only."""
        while not self._whole.empty():
            save, seconds, size = self._whole.get()
            yield Saved(save.step, seconds, save.stalled_s, size, save.manifest["state"])

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
                content = self._taker.copy.take()
            finally:
                save.taken.set()
            self._reports.send(save.number, write_share(save, content, self._group.rank))
        except BaseException as error:
            self._note(save, error)
            return
        finally:
            save.written.set()
        try:
            # before the checkpoint is whole: who goes on from it needs the records that led there
            self._publish()
            if self._group.is_main:
                self._commit(save)
        except BaseException as error:
            self._note(save, error)

    def _note(self, save: Save, error: BaseException) -> None:
        save.error, save.passes = error, isinstance(error, StorageError) and storage.is_remote(save.target)
        _log.error("%s%s", f"{save.target} is not saved: " if save.passes else "", plain_error(error, save.target))

    def _commit(self, save: Save) -> None:
        """Make the checkpoint whole, once every process has written its file."""
        size = make_whole(save, self._reports, save.abandoned.is_set)
        if size is not None:
            self._whole.put((save, time.perf_counter() - save.begun, size))
            self._retention.remove_old(save.step)
