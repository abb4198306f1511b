"""A place for what libraries keep in a person's home, where there is none that can be written to."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from cluster.errors import StorageError
from cluster.scratch import scratch_folder

_PLACES = ("MPLCONFIGDIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "TRITON_CACHE_DIR")
"""Variables that name such places; without them matplotlib and wandb complain on the screen, and Triton fails."""


@contextmanager
def usable_home() -> Iterator[None]:
    """A block in which libraries keep their caches in a private folder of the process and of those that it starts,
    where the home can't be written to, is not there, or nobody says where it is. What is named already stays."""
    missing = [] if _is_usable(os.environ.get("HOME")) else [name for name in _PLACES if name not in os.environ]
    if not missing:
        yield
        return
    kept = ExitStack()
    with suppress(StorageError):  # then they complain
        folder = kept.enter_context(scratch_folder("gavt-home-"))
        for name in missing:
            (folder / name.lower()).mkdir()
            os.environ[name] = str(folder / name.lower())
    try:
        yield
    finally:
        for name in missing:
            os.environ.pop(name, None)
        kept.close()  # without the error of the block, if there is one, which is none of the folder's


def _is_usable(home: str | None) -> bool:
    """Whether things can be kept in a home: in the folders that libraries have there, or new ones."""
    if not home or not os.path.isdir(home):
        return False
    places = [os.path.join(home, name) for name in (".cache", ".config")]
    folders = [place if os.path.isdir(place) else home for place in places]
    return all(os.access(folder, os.W_OK | os.X_OK, effective_ids=True) for folder in folders)
