"""What happened between two records of `metrics.jsonl`."""

from dataclasses import dataclass, field
from typing import Any

from pipeline.tasks.mma import balanced_accuracy
from pipeline.train.health.step_flags import StepSums


@dataclass
class Interval:
    """Sums since the last record; saved with a checkpoint, so that a resumed run's records are the same.

    Attributes:
        loss, correct, correct_mismatches, pairs, mismatches, left_out: see `StepSums`.
        seconds, waited_s: in steps of this process, and in them waiting for data.
        checkpoint_s: that training stood still for checkpoints, in steps and between them.
    """

    loss: float = 0.0
    correct: float = 0.0
    correct_mismatches: float = 0.0
    pairs: float = 0.0
    mismatches: float = 0.0
    left_out: float = 0.0
    samples: int = 0
    steps: int = 0
    skipped: int = 0
    replaced: float = 0.0
    seconds: float = field(default=0.0, compare=False)
    waited_s: float = field(default=0.0, compare=False)
    checkpoint_s: float = field(default=0.0, compare=False)

    def record(self) -> dict[str, Any]:
        """Means and paces, for a record; no loss where no step was applied."""
        return {
            "loss": self.loss / self.pairs if self.pairs else None,
            "accuracy": self.correct / self.pairs if self.pairs else None,
            "balanced_accuracy": balanced_accuracy(self.correct, self.correct_mismatches, self.pairs, self.mismatches),
            "mismatch_share": self.mismatches / self.pairs if self.pairs else None,
            "unpaired_samples": self.left_out,
            "samples_per_s": round(self.samples / self.seconds, 2),
            "data_wait": round(self.waited_s / self.seconds, 4),
            "checkpoint_s": round(self.checkpoint_s, 3),
            "replaced_samples": self.replaced,
            "skipped_steps": self.skipped,
        }

    def add(self, sums: StepSums, samples: int, seconds: float, waited_s: float, stalled_s: float) -> None:
        """Count a step, and of its seconds those that went into waiting for data and for a checkpoint."""
        if sums.applied:
            self.loss += sums.loss
            self.correct += sums.correct
            self.correct_mismatches += sums.correct_mismatches
            self.pairs += sums.pairs
            self.mismatches += sums.mismatches
        else:
            self.skipped += 1
        self.samples += samples
        self.replaced += sums.replaced
        self.left_out += sums.left_out
        self.steps += 1
        self.seconds += seconds
        self.waited_s += waited_s
        self.checkpoint_s += stalled_s
