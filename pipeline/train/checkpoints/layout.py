"""Names of a checkpoint's files, and its manifest."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cluster import storage
from cluster.errors import MissingFileError
from cluster.json_text import parse_json
from cluster.storage import Location
from pipeline.errors import CheckpointError

MANIFEST = "manifest.json"
WEIGHTS = "model.safetensors"
"""All weights of an export in one file."""
LATEST = "latest"
VERSION = 5
"""Of manifests; from 3 on they have a hash of their own, from 4 on they say where in the files what lies, from 5 on
files have a hash a block."""
_HASH = "sha256"


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint, or an export.

    Attributes:
        url: of its folder (path or URL).
        manifest: what it says of itself.
        intact: whether the manifest's file is what was saved; of all others `verify.problems` says it.
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

    @property
    def is_export(self) -> bool:
        """Whether it has weights alone, from which no run goes on."""
        return "tensors" not in self.manifest

    @property
    def has_average(self) -> bool:
        """Whether a moving average of the weights is in it, beside them."""
        return bool(self.manifest.get("has_average"))


class TornError(CheckpointError):
    """A save that never finished."""


class DamagedError(CheckpointError):
    """A checkpoint of which a file is missing, or is not what was saved."""


def step_folder(checkpoints: Location, step: int) -> str:
    """Folder (path or URL) of the checkpoint after `step` steps."""
    return storage.join(checkpoints, f"step-{step:010d}")


def rank_file(rank: int) -> str:
    """Name of the file with all that a process saved."""
    return f"rank-{rank:05d}.safetensors"


def manifest_text(content: Mapping[str, Any]) -> str:
    """A manifest as JSON, with a hash of all else in it, so that no changed byte of it goes unseen either."""
    manifest = json.loads(json.dumps({**content, "version": VERSION}))  # as it will be read
    return json.dumps(manifest | {_HASH: _hash(manifest)}, indent=1)


def read_manifest(url: str) -> Checkpoint:
    """The checkpoint in one step's folder.

    Raises:
        TornError: it has no manifest.
        CheckpointError: it has something else in its place.
    """
    try:
        content = storage.read_bytes(storage.join(url, MANIFEST))
    except MissingFileError:
        raise TornError(f"{url}: no {MANIFEST}, so this save never finished") from None
    return parse_manifest(url, content)


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


def missing(file: str) -> str:
    """What is said of a file of a checkpoint that is not there (path or URL)."""
    return f"{file}: missing from its checkpoint"


def _hash(manifest: Mapping[str, Any]) -> str:
    plain = {name: value for name, value in manifest.items() if name != _HASH}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
