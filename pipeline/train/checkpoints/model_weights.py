"""A checkpoint's model as one file of tensors: the moving average of its weights, or the weights themselves."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster import storage
from pipeline.errors import CheckpointError
from pipeline.train.checkpoints.layout import AVERAGE, WEIGHTS, Checkpoint, damaged


def weights_name(checkpoint: Checkpoint, raw: bool = False) -> str:
    """Name of the file: the average's, where there is one.

    Args:
        raw: take the weights themselves where there is an average too.
    """
    return AVERAGE if checkpoint.has(AVERAGE) and not raw else WEIGHTS


def is_average(checkpoint: Checkpoint, name: str) -> bool:
    """Whether a file of that name holds an average, maybe as an export of one."""
    return name == AVERAGE or checkpoint.manifest.get("weights") == "average"


@contextmanager
def checked_weights(checkpoint: Checkpoint, name: str) -> Iterator[Path]:
    """A local path with the file's content, which is what was saved.

    Raises:
        CheckpointError: it is damaged.
    """
    url = storage.join(checkpoint.url, name)
    with storage.local_copy(url) as file:
        if storage.sha256(file) not in [e["sha256"] for e in checkpoint.manifest["files"] if e["name"] == name]:
            raise CheckpointError(damaged(url))
        yield file
