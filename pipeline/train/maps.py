"""What judges and draws, as training goes on, where a model looks. It is given to training from above: judging knows of
maps."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from torch import Tensor

from cluster.process_group import ProcessGroup
from pipeline.train.records.metrics_log import Record


class Maps(Protocol):
    """The maps of a run, on the main process."""

    def can_judge(self) -> bool:
        """Whether there are boxes and maps to judge by them. Asked once, before they are.

        Raises:
            ShardSetError: validation samples that can't be read.
        """

    def judge(self, weights: dict[str, Tensor], step: int) -> Record:
        """How well those of a model with these weights point at what sounds; gives what is recorded of it."""

    def draw(self, weights: dict[str, Tensor], step: int) -> Record:
        """Draw those of a model with these weights; gives what is recorded of it."""


MakeMaps = Callable[[Path, ProcessGroup], Maps]
"""What judges and draws the maps of the run in a folder."""
