"""Which checkpoints are kept."""

import logging
import re

from cluster import storage
from cluster.errors import StorageError
from cluster.storage import Location
from pipeline.train.checkpoints.layout import MANIFEST, step_folder

_log = logging.getLogger(__name__)
_STEP = re.compile("step-[0-9]{10}")


def kept(steps: list[int], keep_last: int, keep_every: int | None) -> set[int]:
    """The steps to keep of whole checkpoints: the newest ones, and those at multiples of `keep_every`."""
    newest = set(sorted(steps)[-keep_last:])
    return newest | {step for step in steps if keep_every is not None and step % keep_every == 0}


class Retention:
    """Removes the checkpoints below a folder (path or URL) that are not kept, and what older torn saves left."""

    def __init__(self, folder: str, keep_last: int, keep_every: int | None) -> None:
        self._folder, self._keep_last, self._keep_every = folder, keep_last, keep_every
        self._whole: set[int] = set()
        """Steps known to be whole: each is asked for once."""

    def remove_old(self, newest: int) -> None:
        """Remove what need not be kept, once step `newest` is saved. What can't be removed stays, with a warning; a
        later save tries again.

        A run that went on from step `newest` had found later ones damaged, so they neither count nor go; they are
        replaced when the run comes to their steps.
        """
        try:
            steps = [step for step in steps_in(self._folder) if step <= newest]
            self._whole |= {step for step in steps if step not in self._whole and self._is_whole(step)}
            self._whole &= {newest, *steps}
            keep = kept(sorted(self._whole), self._keep_last, self._keep_every)
        except StorageError as error:
            _log.warning("%s; old checkpoints stay", error)
            return
        for step in steps:
            if step not in keep:
                try:
                    # the manifest first, so that half a folder is never taken for a whole one
                    storage.remove_folder(step_folder(self._folder, step), first=MANIFEST)
                except StorageError as error:
                    _log.warning("%s", error)

    def _is_whole(self, step: int) -> bool:
        return storage.exists(storage.join(step_folder(self._folder, step), MANIFEST))


def steps_in(folder: Location) -> list[int]:
    """The steps of the checkpoints' folders below a folder (path or URL), whole or torn."""
    names = storage.list_folders(folder)
    return [int(name.removeprefix("step-")) for name in names if _STEP.fullmatch(name)]
