"""Where a run is shown in wandb, and which wandb run is whose.

A name comes from the settings, else from where the run has been shown so far, else from wandb's own variables
(WANDB_ENTITY, WANDB_PROJECT, WANDB_NAME, WANDB_RUN_GROUP, WANDB_TAGS, WANDB_NOTES, WANDB_JOB_TYPE) and settings files,
else it is the default. What is not followed is said.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cluster import storage
from cluster.errors import StorageError
from cluster.storage.location import path_of
from pipeline.train.run_settings import RunSettings

RUN_ID = "run_id"
ADDRESS = "address.json"
FOLDER = "folder"
"""Key of the run folder beside the address."""
_OWN = {
    "entity": ("entity", "WANDB_ENTITY"),
    "project": ("project", "WANDB_PROJECT"),
    "name": ("run_name", "WANDB_NAME"),
    "group": ("run_group", "WANDB_RUN_GROUP"),
    "tags": ("run_tags", "WANDB_TAGS"),
    "notes": ("run_notes", "WANDB_NOTES"),
    "job_type": ("run_job_type", "WANDB_JOB_TYPE"),
}
"""Name here → wandb's own setting, and its variable."""


@dataclass(frozen=True)
class WandbAddress:
    """Where and how a wandb run is shown. None leaves it to wandb: the account's own entity, no group, …"""

    project: str
    name: str
    entity: str | None = None
    group: str | None = None
    tags: tuple[str, ...] | None = None
    notes: str | None = None
    job_type: str | None = None

    @property
    def place(self) -> str:
        """`entity/project`."""
        return f"{self.entity or 'the default entity'}/{self.project}"


def address_of(settings: RunSettings, own: Any, before: Mapping[str, Any], tell: Callable[[str], None]) -> WandbAddress:
    """The address of a run.

    Args:
        own: wandb's settings, from its variables and files.
        before: the address that the run had so far (see `read_address`).
        tell: told of a variable that is not followed, and of a run that moves.
    """
    found: dict[str, Any] = {}
    for field, (setting, variable) in _OWN.items():
        given, earlier, outside = getattr(settings.train.wandb, field), before.get(field), getattr(own, setting)
        found[field] = given or earlier or outside or None
        if os.environ.get(variable) and outside and _plain(outside) != _plain(found[field]):
            why = f"train.wandb.{field} is {given}" if given else f"this run's wandb run has {earlier}"
            tell(f"{variable}={_shown(outside)} is not followed: {why}")
    found["tags"] = tuple(found["tags"]) if found["tags"] else None
    found["project"] = found["project"] or "gavt"
    found["name"] = found["name"] or settings.name
    address = WandbAddress(**found)
    if "project" in before and (before.get("entity"), before["project"]) != (address.entity, address.project):
        was = replace(address, project=before["project"], entity=before.get("entity"))
        tell(f"the wandb run was in {was.place} and goes on in {address.place}, with all records so far")
    return address


def read_id(folder: Path) -> str | None:
    """The id in a run's wandb folder; None where there is none."""
    file = folder / RUN_ID
    return (storage.read_text(file).strip() or None) if file.exists() else None


def write_id(folder: Path, run_id: str) -> None:
    """Note the id of the run's wandb run."""
    storage.write_text(folder / RUN_ID, run_id)


def read_address(folder: Path) -> dict[str, Any]:
    """What a run's wandb folder says of its address, and of the run folder; empty where it says nothing."""
    file = folder / ADDRESS
    return storage.read_json(file) if file.exists() else {}


def write_address(folder: Path, address: WandbAddress | None, home: str) -> None:
    """Note the address (None: not known yet) of the run whose folder is `home` (path or URL)."""
    known = {} if address is None else asdict(address)
    storage.write_text(folder / ADDRESS, json.dumps(known | {FOLDER: home}) + "\n")


def original_of(home: str, run_id: str, before: Mapping[str, Any]) -> str | None:
    """The run folder of which `home` (path or URL) is a copy, with the same wandb run; None for a run folder that is
    nobody's copy, or was moved."""
    other = before.get(FOLDER)
    if not isinstance(other, str) or _same(home, other):
        return None
    try:
        id_file = storage.join(other, "wandb", RUN_ID)
        copied = storage.exists(id_file) and storage.read_text(id_file).strip() == run_id
    except StorageError:  # of a place that this machine can't look at nobody can say more
        return None
    return other if copied else None


def _same(one: str, other: str) -> bool:
    if storage.is_remote(one) or storage.is_remote(other):
        return one.rstrip("/") == other.rstrip("/")
    first, second = path_of(one), path_of(other)
    return first == second or (first.exists() and second.exists() and first.samefile(second))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value


def _shown(value: Any) -> str:
    return ",".join(value) if isinstance(value, list | tuple) else str(value)
