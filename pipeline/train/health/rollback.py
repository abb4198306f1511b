"""Going back to a checkpoint while the run goes on.

    RUN/rollback.json       {"checkpoint": 1000, "step": 1312, "state": {…}}

The weights and optimiser states become those of the checkpoint; step, position and schedule stay where they are. So
the samples of step n are the same as ever, the steps of the metrics only grow, and the data between the checkpoint and
here is never shown again. The file is written first: whoever starts the run again before the next checkpoint goes on
from the same place.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from cluster import storage
from cluster.process_group import ProcessGroup
from cluster.storage import Location
from pipeline.errors import RunError
from pipeline.train.checkpoints import Checkpoint, newest_checkpoint
from pipeline.train.checkpoints.find import older_checkpoints

FILE = "rollback.json"


def write_rollback(run: Path, checkpoint: Checkpoint, step: int, state: dict[str, Any]) -> None:
    """Note that the run goes on with a checkpoint's weights after `step` steps, and with the loop's `state`."""
    entry = {"checkpoint": checkpoint.step, "step": step, "state": state}
    storage.write_text(run / FILE, json.dumps(entry))


def newest_to_go_on_from(run: Path, checkpoints: Location, group: ProcessGroup) -> Checkpoint | None:
    """The newest whole checkpoint; or the one to which the run went back since, with the rollback's step and state.
    Every process must call it.

    Args:
        run: the local folder of the run.
        checkpoints: where its checkpoints are (path or URL).

    Raises:
        RunError: somebody has changed what the rollback wrote.
    """
    newest = newest_checkpoint(checkpoints, group)
    entry = group.on_main(lambda: _rollback(run / FILE))
    if newest is None or entry is None or newest.step >= entry["step"]:  # an older rollback
        return newest
    checkpoint = next((one for one in _down_from(checkpoints, newest, group) if one.step == entry["checkpoint"]), None)
    if checkpoint is None:
        return newest
    return replace(checkpoint, manifest={**checkpoint.manifest, "step": entry["step"], "state": entry["state"]})


def newest_to_go_back_to(checkpoints: Location, group: ProcessGroup) -> Checkpoint | None:
    """The newest whole checkpoint that was not saved among bad steps, as one is where the run had to leave just then;
    or the newest where there is no other. Every process must call it."""
    newest = newest_checkpoint(checkpoints, group)
    if newest is None:
        return None
    found = _down_from(checkpoints, newest, group)
    return next((one for one in found if not one.manifest["state"]["bad_steps"]["in_row"]), newest)


def _down_from(checkpoints: Location, newest: Checkpoint, group: ProcessGroup) -> Iterator[Checkpoint]:
    """The newest checkpoint and all older ones that are whole."""
    yield newest
    yield from older_checkpoints(checkpoints, newest, group)


def _rollback(file: Path) -> dict[str, Any] | None:
    if not file.exists():
        return None
    entry = storage.read_json(file)
    if not {"checkpoint", "step", "state"} <= entry.keys():
        raise RunError(f"{file}: expected checkpoint, step and state, found {', '.join(entry) or 'none'}")
    return entry
