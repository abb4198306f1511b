"""Checkpoints that can be trusted.

    RUN/checkpoints/
        step-0000001200/
            deepspeed/            DeepSpeed's own files: parameters, optimiser states
            model.safetensors     all weights in float32, readable without DeepSpeed and without unpickling
            manifest.json         written last: step, sizes and hashes of all files, settings, versions, cursor
        latest                    name of the newest, replaced atomically

A folder without a valid manifest is a torn save; nothing is ever read from it. Random states need no file: dropout,
augmentation and pairing are keyed by seed, step and position.
"""

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from cluster import storage
from cluster.process_group import ProcessGroup
from pipeline.errors import CheckpointError
from pipeline.settings.experiment import ExperimentSettings
from pipeline.train.engine import full_weights

MANIFEST = "manifest.json"
WEIGHTS = "model.safetensors"
LATEST = "latest"
_ENGINE = "deepspeed"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint: its folder (path or URL) and its manifest."""

    url: str
    manifest: Mapping[str, Any]

    @property
    def step(self) -> int:
        return int(self.manifest["step"])


def save_checkpoint(
    folder: Path,
    engine: Any,
    group: ProcessGroup,
    settings: ExperimentSettings,
    step: int,
    state: Mapping[str, Any],
    keep: int,
) -> None:
    """Save the engine after `step` steps below `folder` and remove what is older than the `keep` newest.

    Every process must call it.

    Args:
        state: what the loop itself must remember, as JSON.
    """
    target = folder / f"step-{step:010d}"
    if group.is_main and target.exists():
        shutil.rmtree(target)  # a torn save, or one of the same step
    group.barrier()
    engine.save_checkpoint(str(target), tag=_ENGINE, save_latest=False)
    weights = full_weights(engine)
    group.barrier()
    if group.is_main:
        save_file(weights, target / WEIGHTS)
        files = [file for file in sorted(target.rglob("*")) if file.is_file()]
        manifest = {
            "version": 1,
            "step": step,
            "world_size": group.world_size,
            "state": state,
            "settings": settings.model_dump(mode="json"),
            "versions": {name: version(name) for name in ("gavt", "torch", "deepspeed")},
            "files": [
                {"name": str(f.relative_to(target)), "bytes": f.stat().st_size, "sha256": storage.sha256(f)}
                for f in files
            ],
        }
        storage.write_text(target / MANIFEST, json.dumps(manifest, indent=1))
        storage.write_text(folder / LATEST, target.name)
        _remove_old(folder, keep)
    group.barrier()


def load_engine(checkpoint: Checkpoint, engine: Any, group: ProcessGroup) -> None:
    """Put a checkpoint's parameters and optimiser states into the engine.

    Raises:
        CheckpointError: it was saved by another number of processes.
    """
    saved_by = checkpoint.manifest["world_size"]
    if saved_by != group.world_size:
        raise CheckpointError(
            f"{checkpoint.url}: saved by {saved_by} processes, this run has {group.world_size}; "
            f"go on with --nproc {saved_by}"
        )
    engine.load_checkpoint(checkpoint.url, tag=_ENGINE)


def newest_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest whole checkpoint below `folder`; torn and damaged ones are passed over with a warning."""
    for target in sorted(folder.glob("step-*"), reverse=True):
        try:
            checkpoint = read_manifest(str(target))
            _verify(target, checkpoint)
        except CheckpointError as error:
            _log.warning("%s; an older checkpoint is used", error)
            continue
        return checkpoint
    return None


def find_checkpoint(url: str) -> Checkpoint:
    """The checkpoint that a run folder, a folder of checkpoints or a step's folder (path or URL) names.

    Raises:
        CheckpointError: none there.
    """
    if storage.exists(storage.join(url, MANIFEST)):
        return read_manifest(url)
    for folder in (storage.join(url, "checkpoints"), url):
        if storage.exists(storage.join(folder, LATEST)):
            return read_manifest(storage.join(folder, storage.read_text(storage.join(folder, LATEST)).strip()))
    raise CheckpointError(f"{url}: expected a run folder or a checkpoint with a {MANIFEST}, found none")


def read_manifest(url: str) -> Checkpoint:
    """The checkpoint in one step's folder.

    Raises:
        CheckpointError: it has no manifest: a save that never finished.
    """
    manifest_url = storage.join(url, MANIFEST)
    if not storage.exists(manifest_url):
        raise CheckpointError(f"{url}: no {MANIFEST}, so this save never finished")
    try:
        manifest = json.loads(storage.read_bytes(manifest_url))
        if not {"step", "files", "settings", "world_size", "state"} <= manifest.keys():
            raise ValueError("expected step, files, settings, world_size and state")
    except (ValueError, AttributeError) as error:
        raise CheckpointError(f"{manifest_url}: not a checkpoint's manifest: {error}") from None
    return Checkpoint(url, manifest)


def _verify(folder: Path, checkpoint: Checkpoint) -> None:
    for entry in checkpoint.manifest["files"]:
        file = folder / entry["name"]
        if not file.is_file():
            raise CheckpointError(f"{file}: missing from its checkpoint")
        if file.stat().st_size != entry["bytes"] or storage.sha256(file) != entry["sha256"]:
            raise CheckpointError(f"{file}: damaged, its content is not what was saved")


def _remove_old(folder: Path, keep: int) -> None:
    whole = sorted(file.parent for file in folder.glob(f"step-*/{MANIFEST}"))
    for target in whole[:-keep]:
        (target / MANIFEST).unlink()  # first, so that half a folder is never taken for a whole one
        shutil.rmtree(target)
