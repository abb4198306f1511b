"""Settings of multi-modal alignment, and what is measured of it."""

import math
from typing import Any, Literal

from pydantic import Field

from pipeline.settings.base import Settings
from pipeline.tasks.ceiling import CeilingCounts
from pipeline.tasks.contract import Metric, TaskSettings, Totals

_COUNTED = ("loss", "pairs", "right", "right_mismatches", "mismatches", "left_out")


class HardNegativesSettings(Settings):
    """How frames are chosen that look alike (`negatives = hard`)."""

    among: Literal["group", "ranks"] = "group"
    """Those of the group, or of the step's whole batch on all processes: the more, the harder."""
    warmup_steps: int = Field(default=500, ge=0)
    """Steps of the run before which negatives are any of the group: until then the model's eye for likeness is none."""
    share: float = Field(default=0.5, gt=0, le=1)
    """Of the mismatches that are hard; the others are any of the group."""
    skip_above: float = Field(default=0.9, gt=0, le=1)
    """Cosine above which a frame passes for a false negative, and is no hard one: the same thing in another video, say.
    1 skips none."""


class MmaSettings(TaskSettings):
    """How pairs are drawn."""

    kind: Literal["mma"] = "mma"
    streams: tuple[str, ...] = Field(default=("class",), min_length=1)
    """Of which of the model's streams the head sees the mean over all tokens, one behind the other: `[class]` the class
    token (the paper), `[visual, pose, audio]` those of a model without one (TriBERT)."""
    group: int = Field(default=8, ge=2)
    """A mismatched frame comes from the same group of this many consecutive positions, so that the pairing is the same
    on any number of ranks; it must divide the micro-batch."""
    pairs: Literal["one", "both"] = "one"
    """`one`: each sound with its own frame or another's, by a fair coin (the paper, Eq. 3). `both`: each sound with its
    own and with another's, which costs only the encoder again and learns from half the samples."""
    negatives: Literal["any", "unlike", "ranks", "hard"] = "any"
    """`any`: the other frame is any of the group (the paper). `unlike`: never one that is known to show everything that
    sounds (`visible`, else `labels`, of the sample); what comes of it is then label-aided. `ranks`: any of the step's
    whole batch, on whichever process. `hard`: one that looks most like the sound's own, as `hard` says. Validation
    shows any of the group for the last two, so that its figures can be compared."""
    hard: HardNegativesSettings = HardNegativesSettings()

    @property
    def sums(self) -> tuple[str, ...]:
        """Over pairs that count: the cross entropy, how many there are, those told right, of these the mismatches, and
        the mismatches; samples in no pair that counts; and in validation what an observer sees of the pairs."""
        return (*_COUNTED, *CeilingCounts.names())

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """`ceiling` is only known in validation, where the samples say what is visible and what sounds."""
        return (
            Metric("loss", "loss", chance=math.log(2)),
            Metric("accuracy", chance=0.5, ceiling="ceiling", checked_by="balanced_accuracy"),
            Metric("balanced_accuracy", chance=0.5, shown=False),
            Metric("mismatch_share", shown=False),
            Metric("unpaired_samples", "count"),
            Metric("ceiling", shown=False),
        )

    def figures(self, totals: Totals) -> dict[str, float | None]:
        """Means over the pairs; none of the model's answers where the loss is no finite number, for then no answer is
        one."""
        pairs, mismatches = totals["pairs"], totals["mismatches"]
        answered = bool(pairs) and math.isfinite(totals["loss"])
        balanced = balanced_accuracy(totals["right"], totals["right_mismatches"], pairs, mismatches)
        figures = {
            "loss": totals["loss"] / pairs if answered else None,
            "accuracy": totals["right"] / pairs if answered else None,
            "balanced_accuracy": balanced if answered else None,
            "mismatch_share": mismatches / pairs if pairs else None,
            "unpaired_samples": totals["left_out"],
        }
        ceiling = CeilingCounts(**{name: totals[name] for name in CeilingCounts.names()}).ceiling()
        return figures | ({} if ceiling is None else {"ceiling": ceiling})

    @property
    def whole_batch(self) -> bool:
        """Where frames come from all processes."""
        return self.negatives == "ranks" or (self.negatives == "hard" and self.hard.among == "ranks")

    def reason_against(self, model: Any) -> str | None:
        """It needs frames and sound, and what its head sees."""
        *needed, last = dict.fromkeys((*self.streams, "visual", "audio"))
        missing = next((name for name in (*needed, last) if name not in model.streams), None)
        if missing is None:
            return None
        hint = "; task.streams names others" if missing in self.streams else ""
        return (
            f"a model with the streams {', '.join(needed)} and {last} for task.kind = mma, found none {missing}{hint}"
        )

    @property
    def label_aided(self) -> str | None:
        """What must stand beside every figure of a model that was trained so; None where no label was looked at."""
        if self.negatives != "unlike":
            return None
        return f"label-aided: class names chose the mismatched pairs of training (task.negatives={self.negatives})"


def balanced_accuracy(right: float, right_mismatches: float, pairs: float, mismatches: float) -> float | None:
    """Mean of the accuracy on matches and that on mismatches, which says 0.5 of whoever gives one answer only; None
    without either kind."""
    matches = pairs - mismatches
    if not matches or not mismatches:
        return None
    return ((right - right_mismatches) / matches + right_mismatches / mismatches) / 2
