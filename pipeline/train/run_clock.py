"""Goodput: how much of a run's time was of use."""

import time
from dataclasses import dataclass


@dataclass
class RunClock:
    """Useful time and wall time of a run since its first start, over all restarts.

    Useful are the seconds in steps that count: forward, backward, update and the talk between processes, without the
    waiting for data and for checkpoints. Steps that a restart or a rollback threw away don't count, nor do skipped
    ones. All the rest is loss: start-up, validation, checkpoints, work done twice, and the pauses between two processes
    of the run.

    Attributes:
        started: Unix time at which the run's first process began.
        useful_s: goes into the checkpoint and comes back from it, which forgets the steps since.
    """

    started: float
    useful_s: float = 0.0

    def add(self, useful_s: float) -> None:
        """Count a step of the main process."""
        self.useful_s += useful_s

    def goodput(self) -> float:
        """Useful time over the time since the first start, 0–1."""
        return self.useful_s / max(time.time() - self.started, 1e-9)
