"""Which checkpoints are kept."""

import logging
import shutil
from pathlib import Path

from cluster.os_errors import why
from pipeline.train.checkpoints.layout import MANIFEST

_log = logging.getLogger(__name__)
_DIGITS = "[0-9]" * 10


def kept(steps: list[int], keep_last: int, keep_every: int | None) -> set[int]:
    """The steps to keep of whole checkpoints: the newest ones, and those at multiples of `keep_every`."""
    newest = set(sorted(steps)[-keep_last:])
    return newest | {step for step in steps if keep_every is not None and step % keep_every == 0}


def remove_old(folder: Path, newest: int, keep_last: int, keep_every: int | None) -> None:
    """Remove the checkpoints below `folder` that are not kept, and what older torn saves left.

    What can't be removed stays, with a warning; a later save tries again.

    Args:
        newest: step that was saved last. A run that went on from here had found later ones damaged, so they neither
            count nor go; they are replaced when the run comes to their steps.
    """
    found = {step_of(target): target for target in folder.glob(f"step-{_DIGITS}")}
    whole = [step for step, target in found.items() if step <= newest and (target / MANIFEST).exists()]
    keep = kept(whole, keep_last, keep_every)
    for step, target in found.items():
        if step <= newest and step not in keep:
            try:
                remove(target)
            except OSError as error:
                _log.warning("%s: can't be removed: %s", target, why(error))


def remove(target: Path) -> None:
    """Remove a checkpoint, whole or torn."""
    (target / MANIFEST).unlink(missing_ok=True)  # first, so that half a folder is never taken for a whole one
    shutil.rmtree(target)


def step_of(target: Path) -> int:
    """The step in a folder's name."""
    return int(target.name.removeprefix("step-"))
