"""Which checkpoints are kept."""

import shutil
from pathlib import Path

from pipeline.train.checkpoints.layout import MANIFEST

_DIGITS = "[0-9]" * 10


def kept(steps: list[int], keep_last: int, keep_every: int | None) -> set[int]:
    """The steps to keep of whole checkpoints: the newest ones, and those at multiples of `keep_every`."""
    newest = set(sorted(steps)[-keep_last:])
    return newest | {step for step in steps if keep_every is not None and step % keep_every == 0}


def remove_old(folder: Path, keep_last: int, keep_every: int | None) -> None:
    """Remove the whole checkpoints below `folder` that are not kept, and what older torn saves left."""
    whole = {step_of(file.parent): file.parent for file in folder.glob(f"step-{_DIGITS}/{MANIFEST}")}
    keep = kept(list(whole), keep_last, keep_every)
    for step, target in whole.items():
        if step not in keep:
            remove(target)
    for target in folder.glob(f"step-{_DIGITS}"):
        if step_of(target) not in whole and whole and step_of(target) < max(whole):
            remove(target)


def remove(target: Path) -> None:
    """Remove a checkpoint, whole or torn."""
    (target / MANIFEST).unlink(missing_ok=True)  # first, so that half a folder is never taken for a whole one
    shutil.rmtree(target)


def step_of(target: Path) -> int:
    """The step in a folder's name."""
    return int(target.name.removeprefix("step-"))
