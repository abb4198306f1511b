"""The weights that a checkpoint holds."""

from collections.abc import Mapping
from os import PathLike, fspath

from torch import Tensor

from pipeline.train.checkpoints import find_checkpoint
from pipeline.train.checkpoints.model_weights import read_weights


def saved_weights(place: "str | PathLike[str]", average: bool = False) -> Mapping[str, Tensor]:
    """Those of a run's newest checkpoint, or of a step's folder (path or URL): the weights themselves, or their moving
    average."""
    return read_weights(find_checkpoint(fspath(place)), raw=not average)
