"""Goodput: how much of a run's time was of use."""

import time
from dataclasses import dataclass, field

_SEEN_S = 1.0
"""By which clocks of machines may differ without a word."""


@dataclass
class RunClock:
    """Useful time and time of a run since its first start, over all restarts.

    Useful are the seconds in steps that count: forward, backward, update and the talk between processes, without the
    waiting for data and for checkpoints. Steps that a restart or a rollback threw away don't count, nor do skipped
    ones. All the rest is loss: start-up, validation, checkpoints, work done twice, and the pauses between two processes
    of the run.

    Within a process time is that of the monotonic clock, which nobody sets. Only the pause between two processes is a
    difference of two times of day, which clocks that are set, or those of two machines, may make anything of; it counts
    as none where it is negative.

    Attributes:
        useful_s: goes into the checkpoint and comes back from it, which forgets the steps since.
        before_s: of the run before this process began.
        began: monotonic time at which this process began.
    """

    useful_s: float = 0.0
    before_s: float = 0.0
    began: float = field(default_factory=time.monotonic)

    def add(self, useful_s: float) -> None:
        """Count a step of the main process."""
        self.useful_s += useful_s

    @property
    def own_s(self) -> float:
        """Since this process began."""
        return time.monotonic() - self.began

    @property
    def elapsed_s(self) -> float:
        """Since the run's first start; goes into the checkpoint."""
        return self.before_s + self.own_s

    def go_on(self, elapsed_s: float, since: float) -> str | None:
        """Go on with a run that had lasted `elapsed_s` at the time of day `since` (Unix); a sentence where that is
        still to come."""
        pause_s = time.time() - self.own_s - since
        self.before_s = elapsed_s + max(0.0, pause_s)
        if pause_s >= -_SEEN_S:
            return None
        return (
            f"by this machine's clock the run was left {-pause_s:.0f} s from now: how long it stood still "
            "is not known, and not counted in its goodput"
        )

    def goodput(self) -> float:
        """Useful time over the time since the first start, 0–1."""
        return self.useful_s / max(self.elapsed_s, self.useful_s, 1e-9)
