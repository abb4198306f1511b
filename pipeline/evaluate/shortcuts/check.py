"""What shortcuts reach on a rendered world (`gavt synth --check`), from its MP4s and their truth."""

from collections.abc import Callable
from importlib import import_module

from pipeline.errors import SynthError
from pipeline.evaluate.measures.contract import Table
from pipeline.evaluate.shortcuts.world_files import WorldFiles
from pipeline.worlds.world import read_world

_NEEDED = {
    "timbre_scenes": ("validation", "test"),
    "sync_movers": ("validation", "test"),
    "event_strips": ("train", "test"),
}
"""Kind of world → manifests that its check, in the file of that name, can't do without."""
MOST = 300
"""Videos of each manifest that are looked at."""


def check_world(url: str, most: int = MOST, on_video: Callable[[], None] = lambda: None) -> list[Table]:
    """Tables of what predictors reach that lack what the world is to teach, beside chance, a detector and the truth.

    Args:
        url: folder or prefix of the world.
        most: videos of each of its manifests that are looked at.
        on_video: called after each.

    Raises:
        SynthError: it is no world, one without videos to test on, or of a kind whose shortcuts nobody knows.
        StorageError: it can't be read.
    """
    kind = read_world(url)["settings"].get("kind")
    if kind not in _NEEDED:
        raise SynthError(f"{url}: expected a world of kind {', '.join(_NEEDED)} to check, found {kind}")
    files = WorldFiles(url, most, on_video)
    for split in _NEEDED[kind]:
        if not files.rows(split):
            raise SynthError(f"{url}: expected videos in {split}.jsonl to check the world by, found none")
    tables: list[Table] = import_module(f"{__package__}.{kind}").check(files)
    return tables
