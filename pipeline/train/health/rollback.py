"""Going back to a checkpoint while the run goes on.

    RUN/rollback.json       {"checkpoint": 1000, "step": 1312, "state": {…}}

The weights and optimiser states become those of the checkpoint; step, position and schedule stay where they are. So
the samples of step n are the same as ever, the steps of the metrics only grow, and the data between the checkpoint and
here is never shown again. The file is written first: whoever starts the run again before the next checkpoint goes on
from the same place.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from cluster import storage
from pipeline.train.checkpoints import Checkpoint, newest_checkpoint

FILE = "rollback.json"


def write_rollback(run: Path, checkpoint: Checkpoint, step: int, state: dict[str, Any]) -> None:
    """Note that the run goes on with a checkpoint's weights after `step` steps, and with the loop's `state`."""
    entry = {"checkpoint": checkpoint.step, "step": step, "state": state}
    storage.write_text(run / FILE, json.dumps(entry))


def newest_to_go_on_from(run: Path) -> Checkpoint | None:
    """The newest whole checkpoint; with the step and state of a rollback to it, if there was one."""
    checkpoint = newest_checkpoint(run / "checkpoints")
    if checkpoint is None or not (run / FILE).exists():
        return checkpoint
    entry = json.loads((run / FILE).read_text())
    if entry["checkpoint"] != checkpoint.step:  # an older rollback: there is a newer checkpoint since
        return checkpoint
    return replace(checkpoint, manifest={**checkpoint.manifest, "step": entry["step"], "state": entry["state"]})
