"""What every objective is to the rest.

Its settings say, without torch, what it needs and what it measures; its module has the heads and the loss. Targets are
made on the host from what is known of the samples, keyed by position, so that they are the same on any number of
processes; losses and sums of what is measured come from the device.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import Field

from pipeline.samples.metadata import SampleMetadata
from pipeline.settings.base import Settings

if TYPE_CHECKING:
    from torch import nn

    from pipeline.stream.fields.contract import FieldSpec

Totals = Mapping[str, float]
"""By the name of a sum (`TaskSettings.sums`), its value over any number of samples, steps and processes."""
Purpose = Literal["train", "validation", "example"]


@dataclass(frozen=True)
class Metric:
    """A number that a task makes of its sums, and how it is shown: in the live line, curves and the report.

    Attributes:
        name: as in records; `validation/` stands before those of the validation set.
        unit: `loss` is better the lower, and judged by `gavt compare`; `share` is 0–1, better the higher, and shown in
            per cent; `number` is shown as it is; `count` adds up what should not be, and is told where it is not 0.
        chance: what guessing gives; None where that is not one number.
        ceiling: name of the metric that says what nobody can be above on the same samples; told and drawn beside it.
        checked_by: name of a metric that says about the same unless answers or data are lopsided; told beside it where
            they lie apart.
        shown: whether it is in the live line and has a curve in the report.
    """

    name: str
    unit: Literal["loss", "share", "number", "count"] = "share"
    chance: float | None = None
    ceiling: str | None = None
    checked_by: str | None = None
    shown: bool = True

    def of_task(self, task: str) -> "Metric":
        """The same of one of several tasks, as TASK/NAME."""
        ceiling, check = (None if one is None else f"{task}/{one}" for one in (self.ceiling, self.checked_by))
        return replace(self, name=f"{task}/{self.name}", ceiling=ceiling, checked_by=check)


class TaskSettings(Settings):
    """Settings of an objective. A subclass names its `kind` and says what follows from its settings."""

    kind: str
    group: int = Field(default=1, ge=1)
    """So many consecutive positions never lie on two processes or in two micro-batches; it must divide the
    micro-batch."""

    @property
    def sums(self) -> tuple[str, ...]:
        """Names of what `Task.forward` adds up. The first two are the loss's numerator and its denominator: their ratio
        over all micro-batches and processes is the step's loss."""
        raise NotImplementedError

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What `figures` gives; the first is the loss that is trained on."""
        raise NotImplementedError

    def figures(self, totals: Totals) -> dict[str, float | None]:
        """The metrics, by name, of what was added up; None where it can't be said."""
        raise NotImplementedError

    @property
    def whole_batch(self) -> bool:
        """Whether a sample is compared with all of its step, on all processes: then a step has one micro-batch on each,
        for gradients that are accumulated would be of parts that never met."""
        return False

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of inputs that it needs besides the model's: labels a segment, say."""
        return ()

    def own_fields(self, features: Any) -> "Sequence[FieldSpec]":
        """Inputs that only it takes, and describes itself, where the features are these (`FeatureSettings`). Their
        names have a space in them, as those of no others have."""
        return ()

    def reason_against(self, model: Any) -> str | None:
        """Why it can't be trained with a model of these settings, as `expected …, found …` goes on; None if it can."""
        return None

    def reason_against_inputs(self, features: Any) -> str | None:
        """Why it can't be trained on inputs of these settings (`FeatureSettings`), likewise."""
        return None

    @property
    def label_aided(self) -> str | None:
        """What must stand beside every figure of a model that was trained so; None where no label was looked at."""
        return None


class Follow(Protocol):
    """Moves a teacher after its student: the engine's part of `Task.after_step`, at every ZeRO stage and precision."""

    def __call__(self, teacher: "nn.Module", student: "nn.Module", rate: float) -> None:
        """teacher ← (1 − rate) · teacher + rate · student, in float32; both have the same parameters, and those of the
        teacher have no gradient. Every process must call it."""
        ...


class DataWatch(Protocol):
    """Looks whether a task can learn from the data at all; every process sees the same."""

    def add(self, totals: Totals, samples: int, whole: bool) -> str | None:
        """Count a step of so many samples.

        Args:
            whole: that was the whole run, since it is so short.

        Returns:
            A sentence, once, where something about the data should be known.

        Raises:
            RunError: nothing can be learnt from it.
        """
        ...


Metadata = Sequence[SampleMetadata]
ReadMetadata = Callable[[range], Metadata]
"""Reads what is known of the samples at positions of a validation set."""
