"""What checkpoints a run has."""

from dataclasses import dataclass

from cluster import storage
from cluster.errors import MissingFileError, StorageError
from pipeline.errors import CheckpointError
from pipeline.train.checkpoints.layout import LATEST, MANIFEST, Checkpoint, damaged, missing, parse_manifest


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
        lacking: the first file that is missing or of another size than was saved, as a sentence; None for none.
            Whether their content is what was saved, `verify.problems` says.
    """

    url: str
    bytes: int
    latest: bool
    checkpoint: Checkpoint | None
    damage: str | None = None
    lacking: str | None = None

    @property
    def whole(self) -> bool:
        """Whether a run could go on from it, as far as is known without reading its files."""
        return self.checkpoint is not None and self.damage is None and self.lacking is None


def latest_name(url: str) -> str | None:
    """What the file `latest` of a run folder, or of a folder of checkpoints, names; None where there is none."""
    for folder in (storage.join(url, "checkpoints"), url):
        latest = storage.join(folder, LATEST)
        if storage.exists(latest):
            return storage.read_text(latest).strip()
    return None


def list_checkpoints(url: str) -> list[Listed]:
    """The checkpoints of a run folder, of a folder of checkpoints, or the one in a step's folder (path or URL), oldest
    first.

    Raises:
        CheckpointError: none there.
    """
    for folder in (storage.join(url, "checkpoints"), url):
        sizes: dict[str, dict[str, int]] = {}
        for name, size in _files_below(folder):
            step, _, rest = name.partition("/")
            if step.startswith("step-") and rest:
                sizes.setdefault(step, {})[rest] = size
        if sizes:
            newest = latest_name(folder)
            urls = {storage.join(folder, name): name == newest for name in sorted(sizes)}
            return _listed(urls, [sizes[name] for name in sorted(sizes)])
    if storage.exists(storage.join(url, MANIFEST)):
        return _listed({url: False}, [dict(_files_below(url))])
    raise CheckpointError(f"{url}: expected a run folder or a checkpoint, found none")


def _files_below(folder: str) -> list[tuple[str, int]]:
    """Name below the folder, and size, of each file in it."""
    return [(storage.name_below(folder, file), file.size) for file in storage.list_files(folder)]


def _listed(urls: dict[str, bool], sizes: list[dict[str, int]]) -> list[Listed]:
    """What is in folders with files of these sizes, of which one may be the latest; many manifests are read at a
    time."""
    manifests = storage.read_each(storage.join(url, MANIFEST) for url in urls)
    listed = []
    for (url, latest), files, content in zip(urls.items(), sizes, manifests, strict=True):
        checkpoint, damage = _checkpoint(url, content)
        lacking = None if checkpoint is None else _lacking(checkpoint, files)
        listed.append(Listed(url, sum(files.values()), latest, checkpoint, damage, lacking))
    return listed


def _lacking(checkpoint: Checkpoint, sizes: dict[str, int]) -> str | None:
    for entry in checkpoint.manifest["files"]:
        file, size = storage.join(checkpoint.url, entry["name"]), sizes.get(entry["name"])
        if size != entry["bytes"]:
            return missing(file) if size is None else damaged(file)
    return None


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
