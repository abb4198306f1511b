"""Names of a checkpoint's files, and its manifest."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster import storage
from pipeline.errors import CheckpointError

MANIFEST = "manifest.json"
WEIGHTS = "model.safetensors"
AVERAGE = "ema.safetensors"
LATEST = "latest"
ENGINE = "deepspeed"
"""Folder, and DeepSpeed's tag, of the engine's files."""


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint: its folder (path or URL) and its manifest."""

    url: str
    manifest: Mapping[str, Any]

    @property
    def step(self) -> int:
        return int(self.manifest["step"])

    @property
    def bytes(self) -> int:
        return sum(int(entry["bytes"]) for entry in self.manifest["files"])

    def has(self, name: str) -> bool:
        """Whether it holds a file of this name."""
        return any(entry["name"] == name for entry in self.manifest["files"])


def step_folder(checkpoints: Path, step: int) -> Path:
    """Folder of the checkpoint after `step` steps."""
    return checkpoints / f"step-{step:010d}"


def rank_file(rank: int) -> str:
    """Name of the file in which a process says what it saved."""
    return f"rank-{rank:05d}.json"


def average_file(rank: int) -> str:
    """Name of the file with a process's share of the weights' moving average."""
    return f"ema-{rank:05d}.pt"


def swapped_file(rank: int) -> str:
    """Name of the file with a process's states that ZeRO keeps in files (offload = nvme)."""
    return f"swapped-{rank:05d}.pt"


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
