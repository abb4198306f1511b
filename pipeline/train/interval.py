"""What happened between two records of `metrics.jsonl`."""

from dataclasses import dataclass, field
from typing import Any

from pipeline.tasks.contract import TaskSettings
from pipeline.train.health.step_flags import StepSums


@dataclass
class Interval:
    """Sums since the last record; saved with a checkpoint, so that a resumed run's records are the same.

    Attributes:
        totals: what the task adds up, over the steps that were applied; see `StepSums`.
        seconds, waited_s: in steps of this process, and in them waiting for data.
        checkpoint_s: that training stood still for checkpoints, in steps and between them.
    """

    totals: dict[str, float] = field(default_factory=dict)
    samples: int = 0
    steps: int = 0
    skipped: int = 0
    replaced: float = 0.0
    seconds: float = field(default=0.0, compare=False)
    waited_s: float = field(default=0.0, compare=False)
    checkpoint_s: float = field(default=0.0, compare=False)

    def record(self, task: TaskSettings) -> dict[str, Any]:
        """The task's metrics and paces, for a record; no loss where no step was applied."""
        return {
            **task.figures(dict.fromkeys(task.sums, 0.0) | self.totals),
            "samples_per_s": round(self.samples / self.seconds, 2),
            "data_wait": round(self.waited_s / self.seconds, 4),
            "checkpoint_s": round(self.checkpoint_s, 3),
            "replaced_samples": self.replaced,
            "skipped_steps": self.skipped,
        }

    def add(self, sums: StepSums, samples: int, seconds: float, waited_s: float, stalled_s: float) -> None:
        """Count a step, and of its seconds those that went into waiting for data and for a checkpoint."""
        if sums.applied:
            self.totals = {name: self.totals.get(name, 0.0) + total for name, total in sums.totals.items()}
        else:
            self.skipped += 1
        self.samples += samples
        self.replaced += sums.replaced
        self.steps += 1
        self.seconds += seconds
        self.waited_s += waited_s
        self.checkpoint_s += stalled_s
