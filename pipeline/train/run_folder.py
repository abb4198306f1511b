"""The folder of a run.

RUN/
    config.yaml         all settings
    metrics.jsonl       loss, accuracy, speed; the truth about the run's numbers
    events.jsonl        starts, resumes, checkpoints, stops
    checkpoints/        see pipeline.train.checkpoints
    maps/               frames with their maps as training goes on (pipeline.train.map_grid)
    tensorboard/        TensorBoard's file, where it is asked for
    wandb/              wandb's own files and the run's id
    logs/               one file a process; of a run that hung, the stacks (pipeline.train.health.watchdog)
    rollback.json       the last return to a checkpoint (pipeline.train.health.rollback)
"""

import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cluster import storage
from pipeline.errors import RunError
from pipeline.settings.experiment import ExperimentSettings
from pipeline.settings.load import dump_settings, load_settings

CONFIG = "config.yaml"
LOCK = ".lock"
_FREE = {"name", "synth", "prepare", "fetch", "evaluate"}
"""Sections that may differ when a run goes on."""
_FREE_KEYS = {
    ("data", "train"),  # another place of the same data, or other weights; the cursor says if its order is another
    ("data", "mix"),
    ("data", "temperature"),
    ("data", "validation"),
    ("data", "workers"),
    ("data", "prefetch"),
    ("data", "cache"),
    ("data", "deadline_s"),
    ("data", "max_bad_rate"),
    ("data", "allow_change"),
    ("train", "log_every"),
    ("train", "validate_every"),
    ("train", "validation_samples"),
    ("train", "checkpoint_every"),
    ("train", "keep_last"),
    ("train", "keep_every"),
    ("train", "background_saving"),
    ("train", "time_limit_s"),
    ("train", "health"),
    ("train", "wandb"),
    ("train", "tensorboard"),
    ("train", "maps_every"),
    # how it is computed; the resumed run says what changed
    ("train", "micro_batch"),
    ("train", "precision"),
    ("train", "zero_stage"),
    ("train", "offload"),
    ("train", "offload_folder"),
    ("train", "activation_checkpointing"),
    ("train", "compile"),
}


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the run folder for this process; the lock goes with the process, however it ends.

    Raises:
        RunError: another process trains in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(f"{folder}: another process is training in this run folder") from None
        yield


def write_or_check_config(folder: Path, settings: ExperimentSettings) -> None:
    """Write the run's settings, or check that a run that goes on has the same ones.

    Raises:
        RunError: a setting that decides the result differs.
    """
    file = folder / CONFIG
    if file.exists() and (folder / "checkpoints").exists():
        before = load_settings(str(file), ExperimentSettings).settings.model_dump(mode="json")
        now = settings.model_dump(mode="json")
        for place, old, new in _differences(before, now, ()):
            raise RunError(
                f"{folder}: this run has {place} = {old!r}, the command says {new!r}; "
                f"go on with the same settings, or choose another --run"
            )
    storage.write_text(file, dump_settings(settings))


@contextmanager
def log_to(file: Path) -> Iterator[None]:
    """Send the log of this process, and of the storage that it uses, to a file too as long as the block lasts."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(file)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    loggers = [logging.getLogger(name) for name in ("pipeline", "cluster")]
    for logger in loggers:
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
        handler.close()


def _differences(before: Any, now: Any, place: tuple[str, ...]) -> Iterator[tuple[str, Any, Any]]:
    if before == now or place in _FREE_KEYS or (len(place) == 1 and place[0] in _FREE):
        return
    if isinstance(before, dict) and isinstance(now, dict):
        for name in before.keys() | now.keys():
            yield from _differences(before.get(name), now.get(name), (*place, name))
    else:
        yield ".".join(place), before, now
