"""What checkpoints a run has."""

from dataclasses import dataclass

from cluster import storage
from pipeline.errors import CheckpointError
from pipeline.train.checkpoints.layout import LATEST, MANIFEST, Checkpoint, read_manifest


@dataclass(frozen=True)
class Listed:
    """A checkpoint's folder.

    Attributes:
        url: of the folder.
        bytes: of what is in it.
        latest: whether `latest` names it.
        checkpoint: None for a save that never finished, from which nothing is ever read.
    """

    url: str
    bytes: int
    latest: bool
    checkpoint: Checkpoint | None


def list_checkpoints(url: str) -> list[Listed]:
    """The checkpoints of a run folder, of a folder of checkpoints, or the one in a step's folder (path or URL), oldest
    first.

    Raises:
        CheckpointError: none there.
    """
    for folder in (storage.join(url, "checkpoints"), url):
        sizes: dict[str, int] = {}
        for file in storage.list_files(folder):
            name, _, rest = file.url[len(folder.rstrip("/")) + 1 :].partition("/")
            if name.startswith("step-") and rest:
                sizes[name] = sizes.get(name, 0) + file.size
        if sizes:
            latest = storage.join(folder, LATEST)
            newest = storage.read_text(latest).strip() if storage.exists(latest) else None
            return [_listed(storage.join(folder, name), size, name == newest) for name, size in sorted(sizes.items())]
    if storage.exists(storage.join(url, MANIFEST)):
        return [_listed(url, sum(file.size for file in storage.list_files(url)), latest=False)]
    raise CheckpointError(f"{url}: expected a run folder or a checkpoint, found none")


def _listed(url: str, size: int, latest: bool) -> Listed:
    try:
        return Listed(url, size, latest, read_manifest(url))
    except CheckpointError:
        return Listed(url, size, latest, None)
