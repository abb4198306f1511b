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
from pipeline.errors import CheckpointError, RunError
from pipeline.train.checkpoints import Checkpoint, newest_checkpoint, read_manifest
from pipeline.train.checkpoints.find import verify

FILE = "rollback.json"


def write_rollback(run: Path, checkpoint: Checkpoint, step: int, state: dict[str, Any]) -> None:
    """Note that the run goes on with a checkpoint's weights after `step` steps, and with the loop's `state`."""
    entry = {"checkpoint": checkpoint.step, "step": step, "state": state}
    storage.write_text(run / FILE, json.dumps(entry))


def newest_to_go_on_from(run: Path) -> Checkpoint | None:
    """The newest whole checkpoint; or the one to which the run went back since, with the rollback's step and state.

    Raises:
        RunError: somebody has changed what the rollback wrote.
    """
    newest = newest_checkpoint(run / "checkpoints")
    if newest is None or not (run / FILE).exists():
        return newest
    entry = storage.read_json(run / FILE)
    if not {"checkpoint", "step", "state"} <= entry.keys():
        raise RunError(f"{run / FILE}: expected checkpoint, step and state, found {', '.join(entry) or 'none'}")
    if newest.step >= entry["step"]:  # an older rollback
        return newest
    checkpoint = next((one for one in _down_from(run, newest) if one.step == entry["checkpoint"]), None)
    if checkpoint is None:
        return newest
    return replace(checkpoint, manifest={**checkpoint.manifest, "step": entry["step"], "state": entry["state"]})


def newest_to_go_back_to(run: Path) -> Checkpoint | None:
    """The newest whole checkpoint that was not saved among bad steps, as one is where the run had to leave just then;
    or the newest where there is no other."""
    newest = newest_checkpoint(run / "checkpoints")
    if newest is None:
        return None
    return next((one for one in _down_from(run, newest) if not one.manifest["state"]["bad_steps"]["in_row"]), newest)


def _down_from(run: Path, newest: Checkpoint) -> Iterator[Checkpoint]:
    """The newest checkpoint and all older ones that are whole."""
    yield newest
    for folder in sorted((run / "checkpoints").glob("step-*"), reverse=True):
        try:
            checkpoint = read_manifest(str(folder))
            if checkpoint.step < newest.step:
                verify(checkpoint)
                yield checkpoint
        except CheckpointError:
            continue
