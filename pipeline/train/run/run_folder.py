"""The folder of a run.

RUN/
    config.yaml         all settings
    metrics.jsonl       the task's metrics, speed; the truth about the run's numbers
    events.jsonl        starts, resumes, checkpoints, stops
    start_from.json     what became of the weights that the run began with, where train.start_from names any
    checkpoints/        see pipeline.train.checkpoints
    maps/               frames with their maps as training goes on (pipeline.evaluate.training_maps)
    tensorboard/        TensorBoard's file, where it is asked for
    wandb/              wandb's own files and the run's id
    logs/               one file a process; of a run that hung, the stacks (pipeline.train.health.watchdog)
    rollback.json       the last return to a checkpoint (pipeline.train.health.rollback)
"""

import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cluster import storage
from cluster.errors import InUseError
from cluster.file_lock import open_lock_file, try_lock
from cluster.os_errors import why
from cluster.storage import Location
from cluster.storage.plain_errors import said_plainly
from pipeline.errors import CheckpointError, RunError
from pipeline.settings.load import dump_settings, load_settings
from pipeline.train.checkpoints import read_manifest
from pipeline.train.checkpoints.layout import step_folder
from pipeline.train.checkpoints.retention import steps_in
from pipeline.train.checkpoints.saved_settings import saved_settings
from pipeline.train.run.resume_changes import forbidden_changes
from pipeline.train.run_settings import CONFIG, RunSettings
from pipeline.train.schedule import learning_rate_at

LOCK = ".lock"
_NO_RUN = {"manifest.json": "a checkpoint or an export", "latest": "checkpoints", "dataset.json": "a shard set"}
"""What lies in a folder that is no run's, and what that is."""


@contextmanager
def locked(folder: Path, run: str | None = None) -> Iterator[None]:
    """Hold the run folder for this process; the lock goes with the process, however it ends.

    Args:
        run: where the run lies for its user, if that is not the folder.

    Raises:
        InUseError: another process trains in it.
        RunError: nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open_lock_file(folder / LOCK)
    except OSError as error:
        place = error.filename or folder
        raise RunError(f"{place}: expected a run folder that can be made and written to, found: {why(error)}") from None
    try:
        if try_lock(lock) is False:
            raise InUseError(f"{run or folder}: another process is training in this run folder")
        yield
    finally:
        os.close(lock)


def settings_before(folder: Path, checkpoints: Location, settings: RunSettings) -> RunSettings | None:
    """The settings with which a run was started before; None for a new one.

    Args:
        folder: the local folder of the run.
        checkpoints: where its checkpoints are (path or URL).

    Raises:
        RunError: a setting that decides the result differs from those with which it is to go on; or the folder is
            something else.
    """
    for name, what in _NO_RUN.items():
        if (folder / name).exists():
            raise RunError(f"{folder}: expected a run folder or a new one, found {what} ({name})")
    before = _settings_there(folder, checkpoints)
    if before is None:
        return None
    for place, old, new in forbidden_changes(before, settings):
        raise RunError(
            f"{folder}: this run has {place} = {old!r}, the command says {new!r}; "
            f"go on with the same settings, or choose another --run"
        )
    return before


def _settings_there(folder: Path, checkpoints: Location) -> RunSettings | None:
    """Those in the run folder, or where somebody removed them those of its newest checkpoint."""
    if not storage.exists(checkpoints):
        return None
    if (folder / CONFIG).exists():
        return load_settings(str(folder / CONFIG), RunSettings, recorded=True).settings
    for step in sorted(steps_in(checkpoints), reverse=True):
        try:
            return saved_settings(read_manifest(step_folder(checkpoints, step)))
        except CheckpointError:
            continue  # a torn or damaged one says nothing
    return None


def write_config(folder: Path, settings: RunSettings, before: RunSettings | None, done: int) -> None:
    """Write the settings with which a run goes on after `done` steps.

    Raises:
        RunError: these steps are more than there shall be, or would have had other learning rates.
    """
    if done > settings.train.steps:
        raise RunError(f"{folder}: {done} steps are done, the command says train.steps = {settings.train.steps}")
    if before is not None and before.train != settings.train:  # else it is the same at each of a million steps
        for step in range(done):
            was, now = (learning_rate_at(step, one.train) for one in (before, settings))
            if not math.isclose(was, now):
                raise RunError(
                    f"{folder}: of the {done} steps that are done, step {step + 1} had the learning rate {was:g}, with "
                    f"these settings of steps and schedule it would be {now:g}; go on with the same ones, or branch "
                    f"off an earlier checkpoint (gavt checkpoint convert)"
                )
    storage.write_text(folder / CONFIG, dump_settings(settings))


class _LogFile(logging.FileHandler):
    """A log without which the run goes on, as on a full disk; what matters is said elsewhere too."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Drop the record."""

    def close(self) -> None:
        """Close the file, and drop what can't be written any more."""
        with suppress(OSError):
            super().close()


@contextmanager
def log_to(file: Path) -> Iterator[None]:
    """Send the log of this process, and of the storage that it uses, to a file too as long as the block lasts.

    Raises:
        StorageError: it can't be opened.
    """
    with said_plainly("write", file):
        file.parent.mkdir(parents=True, exist_ok=True)
        handler = _LogFile(file)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    tops = {name.partition(".")[0] for name in (__name__, storage.__name__)}  # in a wheel both are `gavt`
    loggers = [logging.getLogger(top) for top in tops]
    for logger in loggers:
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
        handler.close()
