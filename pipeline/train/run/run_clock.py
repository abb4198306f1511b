"""Goodput: how much of a run's time was of use."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from typing import Any

_SEEN_S = 1.0
"""By which clocks of machines may differ without a word."""


@dataclass
class TimeSpent:
    """What the main process did between first steps and checkpoints, in seconds; a checkpoint holds it, and so knows
    nothing of steps that were thrown away.

    Training and validation are of use: a run would take as long for them on machines that nobody takes away. All else
    is loss.

    Attributes:
        training_s: in steps that count: forward, backward, update and the talk between processes. Not in skipped ones.
        validation_s: in validation and maps that the settings ask for.
        data_s: in steps, waiting for data.
        saving_s: standing still for checkpoints.
        first_steps_s: in the first step of each process, in which loaders fill and kernels are compiled: a part of its
            start.
    """

    training_s: float = 0.0
    validation_s: float = 0.0
    data_s: float = 0.0
    saving_s: float = 0.0
    first_steps_s: float = 0.0

    @classmethod
    def of(cls, words: Mapping[str, Any]) -> "TimeSpent":
        """What a checkpoint's state or event says; nothing where it says nothing."""
        return cls(**{one.name: float(words.get(one.name, 0.0)) for one in fields(cls)})

    @property
    def useful_s(self) -> float:
        return self.training_s + self.validation_s

    @property
    def all_s(self) -> float:
        return self.useful_s + self.data_s + self.saving_s + self.first_steps_s

    def told(self) -> dict[str, float]:
        """For an event."""
        return {name: round(seconds, 3) for name, seconds in asdict(self).items()}


@dataclass
class RunClock:
    """Useful time and time of a run since its first start, over all restarts.

    What is not in `spent` is loss too: start-up, work done twice, and the pauses between two processes of the run.

    Within a process time is that of the monotonic clock, which nobody sets. Only the pause between two processes is a
    difference of two times of day, which clocks that are set, or those of two machines, may make anything of; it counts
    as none where it is negative.

    Attributes:
        before_s: of the run before this process began.
        began: monotonic time at which this process began.
        has_stepped: whether this process has done a step.
    """

    spent: TimeSpent = field(default_factory=TimeSpent)
    before_s: float = 0.0
    began: float = field(default_factory=time.monotonic)
    has_stepped: bool = False

    def add_step(self, seconds: float, waited_s: float, stalled_s: float, counts: bool) -> None:
        """Count a step of the main process, in which it waited for data and stood still for a checkpoint."""
        if not self.has_stepped:
            self.has_stepped = True
            self.spent.first_steps_s += seconds
            return
        self.spent.data_s += waited_s
        self.spent.saving_s += stalled_s
        if counts:
            self.spent.training_s += seconds - waited_s - stalled_s

    @contextmanager
    def validating(self) -> Iterator[None]:
        """A block of validation or maps."""
        started = time.monotonic()
        yield
        self.spent.validation_s += time.monotonic() - started

    @property
    def own_s(self) -> float:
        """Since this process began."""
        return time.monotonic() - self.began

    @property
    def elapsed_s(self) -> float:
        """Since the run's first start."""
        return self.before_s + self.own_s

    def state(self) -> dict[str, float]:
        """What a checkpoint holds of it."""
        return {**asdict(self.spent), "elapsed_s": self.elapsed_s}

    def resume(self, manifest: Mapping[str, Any] | None, started: float | None) -> str | None:
        """Go on where the run stopped; what is wrong with the clock, in a sentence.

        Args:
            manifest: of the checkpoint that it goes on from, if any.
            started: Unix time at which the run's first process began; None for a new one. Where there is a checkpoint
                nevertheless, it is another run's, of which this one branches off.
        """
        if started is None:
            return None
        if manifest is None:
            return self._go_on(0.0, started)
        state = manifest["state"]
        self.spent = TimeSpent.of(state)
        return self._go_on(state["elapsed_s"], manifest["time"]) if "elapsed_s" in state else self._go_on(0.0, started)

    def _go_on(self, elapsed_s: float, since: float) -> str | None:
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
        return self.spent.useful_s / max(self.elapsed_s, self.spent.useful_s, 1e-9)
