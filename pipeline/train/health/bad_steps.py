"""Judging steps: which were bad, and when the run must go back to a checkpoint.

A bad step's loss or gradient is no finite number, or its loss is a spike. It changes nothing: the optimiser leaves it
out on all processes, and the run goes on with the next data. Where that does not help, because the weights themselves
have gone wrong, the run goes back to its newest checkpoint and never shows the data in between again.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import RunError
from pipeline.train.health.step_flags import StepSums
from pipeline.train.settings import HealthSettings


@dataclass
class BadSteps:
    """Counts bad steps; every process counts the same.

    Attributes:
        reason: why the last bad step was bad.
        in_row: bad steps since the last good one.
        rollbacks: steps at which the run went back, as far as they still count.
        losses: of the last good steps, for telling spikes; empty where spikes are not looked for.
    """

    settings: HealthSettings
    in_row: int = 0
    rollbacks: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    reason: str = field(default="", init=False)

    def state(self) -> dict[str, Any]:
        """As JSON, for a checkpoint."""
        return {"in_row": self.in_row, "rollbacks": self.rollbacks, "losses": self.losses}

    @property
    def spike_above(self) -> float | None:
        """Mean loss of a step above which it is a spike; None before `spike_window` good steps, or where it is off."""
        settings = self.settings
        if settings.spike_factor is None or len(self.losses) < settings.spike_window:
            return None
        return settings.spike_factor * sum(self.losses) / len(self.losses)

    def judge(self, sums: StepSums, scaling: bool) -> str | None:
        """What is bad about a step; None for a good one.

        Args:
            scaling: fp16's loss scaler is still looking for its scale, so a gradient that is not finite is no fault.
        """
        reason = self._reason(sums, scaling)
        self.reason = reason or self.reason
        self.in_row = 0 if reason is None else self.in_row + 1
        if self.settings.spike_factor is None:
            self.losses = []  # where it is switched on again, old ones are no measure
        elif reason is None and sums.applied and sums.loss_count:
            self.losses = [*self.losses, sums.loss_total / sums.loss_count][-self.settings.spike_window :]
        return reason

    def _reason(self, sums: StepSums, scaling: bool) -> str | None:
        if not math.isfinite(sums.loss_total):
            return "the loss is not a number"
        limit = self.spike_above
        if limit is not None and sums.loss_total > limit * sums.loss_count:
            return f"the loss of {sums.loss_total / sums.loss_count:.6g} is a spike above {limit:.6g}"
        if not sums.applied and not scaling:
            return "the gradient is not a number"
        return None

    @property
    def must_go_back(self) -> bool:
        """Whether so many steps in a row were bad that the run goes back to a checkpoint."""
        return self.in_row >= self.settings.bad_steps

    def go_back(self, step: int, run: Path) -> str:
        """Count a rollback at `step`; why it is needed.

        Raises:
            RunError: too many rollbacks have not helped.
        """
        limits, rows = self.settings, self.in_row
        within = [at for at in self.rollbacks if at > step - limits.rollback_steps]
        self.in_row, self.rollbacks = 0, [*within, step]
        why = f"{self.reason} at step {step}, and {rows} steps in a row were bad"
        if len(self.rollbacks) > limits.rollbacks:
            again = f"more than {limits.rollbacks} rollbacks in {limits.rollback_steps} steps don't help"
            raise RunError(f"{run}: {why}; {again}; lower train.learning_rate, or see the bad_step events")
        return why
