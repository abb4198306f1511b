"""Names of a checkpoint's files, and its manifest."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster import storage
from cluster.json_text import parse_json
from pipeline.errors import CheckpointError

MANIFEST = "manifest.json"
WEIGHTS = "model.safetensors"
AVERAGE = "ema.safetensors"
LATEST = "latest"
ENGINE = "deepspeed"
"""Folder, and DeepSpeed's tag, of the engine's files."""
VERSION = 3
"""Of manifests; from 3 on they have a hash of their own."""
_HASH = "sha256"


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint.

    Attributes:
        url: of its folder (path or URL).
        manifest: what it says of itself.
        intact: whether the manifest's file is what was saved; of all others `find.problems` says it.
    """

    url: str
    manifest: Mapping[str, Any]
    intact: bool = True

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


def masters_file(rank: int) -> str:
    """Name of the file with what a process holds in float32 of teachers and of what is frozen, where the model computes
    in 16 bits."""
    return f"masters-{rank:05d}.pt"


def swapped_file(rank: int) -> str:
    """Name of the file with a process's states that ZeRO keeps in files (offload = nvme)."""
    return f"swapped-{rank:05d}.pt"


def manifest_text(content: Mapping[str, Any]) -> str:
    """A manifest as JSON, with a hash of all else in it, so that no changed byte of it goes unseen either."""
    manifest = json.loads(json.dumps({**content, "version": VERSION}))  # as it will be read
    return json.dumps(manifest | {_HASH: _hash(manifest)}, indent=1)


def read_manifest(url: str) -> Checkpoint:
    """The checkpoint in one step's folder.

    Raises:
        CheckpointError: it has no manifest, because its save never finished, or something else in its place.
    """
    manifest_url = storage.join(url, MANIFEST)
    if not storage.exists(manifest_url):
        raise CheckpointError(f"{url}: no {MANIFEST}, so this save never finished")
    return parse_manifest(url, storage.read_bytes(manifest_url))


def parse_manifest(url: str, content: bytes) -> Checkpoint:
    """The checkpoint in the folder `url`, from its manifest's content.

    Raises:
        CheckpointError: that is no manifest.
    """
    try:
        manifest = parse_json(content)
        if not {"step", "files", "settings", "world_size", "state"} <= manifest.keys():
            raise ValueError("expected step, files, settings, world_size and state")
        for entry in manifest["files"]:
            if (found := storage.why_not_below(entry["name"])) is not None:
                raise ValueError(f"expected files below the checkpoint's folder, found {found}: {entry['name']!r}")
    except (ValueError, AttributeError, TypeError, KeyError) as error:
        raise CheckpointError(f"{storage.join(url, MANIFEST)}: not a checkpoint's manifest: {error}") from None
    hashed = _HASH in manifest or manifest.get("version", VERSION) >= VERSION
    return Checkpoint(url, manifest, not hashed or manifest.get(_HASH) == _hash(manifest))


def damaged(file: str) -> str:
    """What is said of a damaged file of a checkpoint (path or URL)."""
    return f"{file}: damaged, its content is not what was saved"


def _hash(manifest: Mapping[str, Any]) -> str:
    plain = {name: value for name, value in manifest.items() if name != _HASH}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
