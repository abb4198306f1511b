"""Going back to a checkpoint while the run goes on.

    RUN/rollback.json       {"checkpoint": 1000, "step": 1312, "state": {…}}

The weights and optimiser states become those of the checkpoint; step, position and schedule stay where they are. So
the samples of step n are the same as ever, the steps of the metrics only grow, and the data between the checkpoint and
here is never shown again. The file is written first: whoever starts the run again before the next checkpoint goes on
from the same place.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from cluster import storage
from cluster.process_group import ProcessGroup
from pipeline.errors import RunError
from pipeline.train.checkpoints import Checkpoint

Order = Callable[[Iterator[Checkpoint]], Iterator[Checkpoint]]
"""Of all checkpoints, newest first, those to try, the first one first."""
FILE = "rollback.json"


def write_rollback(run: Path, checkpoint: Checkpoint, step: int, state: dict[str, Any]) -> None:
    """Note that the run goes on with a checkpoint's weights after `step` steps, and with the loop's `state`."""
    entry = {"checkpoint": checkpoint.step, "step": step, "state": state}
    storage.write_text(run / FILE, json.dumps(entry))


def order_to_go_on_from(run: Path, group: ProcessGroup) -> Order:
    """Checkpoints in the order in which a run that is started tries to go on from them: newest first; but first of all
    the one to which the run went back since, with the rollback's step and state. Every process must call it.

    Args:
        run: the local folder of the run.

    Raises:
        RunError: somebody has changed what the rollback wrote.
    """
    entry = group.on_main(lambda: _rollback(run / FILE))
    return partial(_after_rollback, entry)


def _after_rollback(entry: Mapping[str, Any] | None, found: Iterator[Checkpoint]) -> Iterator[Checkpoint]:
    newest = next(found, None)
    if newest is None:
        return
    passed = [newest]
    if entry is not None and newest.step < entry["step"]:  # else it was saved since
        while passed[-1].step > entry["checkpoint"] and (older := next(found, None)) is not None:
            passed.append(older)
        if passed[-1].step == entry["checkpoint"]:
            last = passed[-1]
            yield replace(last, manifest={**last.manifest, "step": entry["step"], "state": entry["state"]})
    yield from passed
    yield from found


def order_to_go_back_to(found: Iterator[Checkpoint]) -> Iterator[Checkpoint]:
    """Checkpoints in the order in which a run tries to go back to them: newest first, those last that were saved among
    bad steps, as one is where the run had to leave just then."""
    among_bad = []
    for checkpoint in found:
        if checkpoint.manifest["state"]["bad_steps"]["in_row"]:
            among_bad.append(checkpoint)
        else:
            yield checkpoint
    yield from among_bad


def _rollback(file: Path) -> dict[str, Any] | None:
    if not file.exists():
        return None
    entry = storage.read_json(file)
    if not {"checkpoint", "step", "state"} <= entry.keys():
        raise RunError(f"{file}: expected checkpoint, step and state, found {', '.join(entry) or 'none'}")
    return entry
