"""What draws, as training goes on, where a model looks. It is given to training from above: judging knows of maps."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from torch import Tensor

from cluster.process_group import ProcessGroup
from pipeline.train.records.metrics_log import Record


class Maps(Protocol):
    """Draws the maps of a run."""

    def draw(self, weights: dict[str, Tensor], step: int) -> Record:
        """Draw those of a model with these weights, on the main process; gives what is recorded of it."""


MakeMaps = Callable[[Path, ProcessGroup], Maps]
"""What draws the maps of the run in a folder."""
