"""What checkpoints a run has."""

from dataclasses import dataclass

from cluster import storage
from cluster.errors import MissingFileError, StorageError
from pipeline.errors import CheckpointError
from pipeline.train.checkpoints.layout import LATEST, MANIFEST, Checkpoint, damaged, parse_manifest


@dataclass(frozen=True)
class Listed:
    """A checkpoint's folder.

    Attributes:
        url: of the folder.
        bytes: of what is in it.
        latest: whether `latest` names it.
        checkpoint: None for a save that never finished, from which nothing is ever read, and where the manifest can't
            be read.
        damage: what is wrong with the manifest; None for nothing.
    """

    url: str
    bytes: int
    latest: bool
    checkpoint: Checkpoint | None
    damage: str | None = None


def list_checkpoints(url: str) -> list[Listed]:
    """The checkpoints of a run folder, of a folder of checkpoints, or the one in a step's folder (path or URL), oldest
    first.

    Raises:
        CheckpointError: none there.
    """
    for folder in (storage.join(url, "checkpoints"), url):
        sizes: dict[str, int] = {}
        for file in storage.list_files(folder):
            name, _, rest = storage.name_below(folder, file).partition("/")
            if name.startswith("step-") and rest:
                sizes[name] = sizes.get(name, 0) + file.size
        if sizes:
            latest = storage.join(folder, LATEST)
            newest = storage.read_text(latest).strip() if storage.exists(latest) else None
            urls = {storage.join(folder, name): name == newest for name in sorted(sizes)}
            return _listed(urls, [sizes[name] for name in sorted(sizes)])
    if storage.exists(storage.join(url, MANIFEST)):
        return _listed({url: False}, [sum(file.size for file in storage.list_files(url))])
    raise CheckpointError(f"{url}: expected a run folder or a checkpoint, found none")


def _listed(urls: dict[str, bool], sizes: list[int]) -> list[Listed]:
    """What is in folders, of which one may be the latest; many manifests are read at a time."""
    manifests = storage.read_each(storage.join(url, MANIFEST) for url in urls)
    return [
        Listed(url, size, latest, *_checkpoint(url, content))
        for (url, latest), size, content in zip(urls.items(), sizes, manifests, strict=True)
    ]


def _checkpoint(url: str, content: bytes | StorageError) -> tuple[Checkpoint | None, str | None]:
    if isinstance(content, MissingFileError):
        return None, None
    if isinstance(content, StorageError):
        raise content
    try:
        checkpoint = parse_manifest(url, content)
    except CheckpointError as error:
        return None, str(error)
    return checkpoint, None if checkpoint.intact else damaged(storage.join(url, MANIFEST))
