"""Settings of several objectives that are trained together."""

from collections.abc import Sequence
from math import lcm
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from pipeline.settings.base import Settings
from pipeline.settings.registry import KindOf
from pipeline.tasks.contract import Metric, TaskSettings, Totals
from pipeline.tasks.registry import TASKS

if TYPE_CHECKING:
    from pipeline.stream.fields.contract import FieldSpec

TaskName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]


class WeightedTaskSettings(Settings):
    """One of several objectives, and how much it counts when."""

    task: Annotated[TaskSettings, KindOf(TASKS)]
    """The objective, with its `kind`."""
    weight: float = Field(default=1.0, gt=0)
    """By which its loss is multiplied."""
    from_step: int = Field(default=0, ge=0)
    """Steps that are done before it begins; it costs nothing until then."""
    until_step: int | None = Field(default=None, gt=0)
    """Steps after which it ends; never unless given."""
    ramp_steps: int = Field(default=0, ge=0)
    """Steps from its beginning over which its weight rises linearly."""

    @model_validator(mode="after")
    def _begins_before_it_ends(self) -> "WeightedTaskSettings":
        if self.until_step is not None and self.until_step <= self.from_step:
            raise ValueError(f"an until_step above from_step = {self.from_step}, found {self.until_step}")
        return self

    def weight_at(self, step: int) -> float:
        """The weight in step `step`, counted from 0; 0 before it begins and after it ends."""
        if step < self.from_step or (self.until_step is not None and step >= self.until_step):
            return 0.0
        return self.weight * min(1.0, (step - self.from_step + 1) / max(self.ramp_steps, 1))


class SeveralSettings(TaskSettings):
    """Several objectives over one model, which embeds each input once for all of them. The loss is the sum of theirs,
    each times its weight; their metrics stand beside each other as NAME/loss, NAME/accuracy …"""

    kind: Literal["several"] = "several"
    tasks: dict[TaskName, WeightedTaskSettings] = Field(min_length=1)
    """By name, as metrics are called by it."""

    @model_validator(mode="after")
    def _groups_fit(self) -> "SeveralSettings":
        together = lcm(*(one.task.group for one in self.tasks.values()))
        if "group" not in self.model_fields_set:
            self.__dict__["group"] = together  # what follows from the others is no choice
        elif self.group % together:
            raise ValueError(f"a group that is a multiple of its tasks', {together}, found {self.group}")
        return self

    @model_validator(mode="after")
    def _one_is_always_trained(self) -> "SeveralSettings":
        step: int | None = 0
        while step is not None:
            ends = [one.until_step for one in self.tasks.values() if one.weight_at(step)]
            if not ends:
                raise ValueError(f"a task that is trained after {step} steps, found none")
            step = None if None in ends else max(end for end in ends if end is not None)
        return self

    @property
    def sums(self) -> tuple[str, ...]:
        """The weighted loss over samples, and each task's own."""
        return ("loss", "samples", *(f"{name}/{total}" for name, one in self.tasks.items() for total in one.task.sums))

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The weighted loss, and each task's own."""
        own = (metric.of_task(name) for name, one in self.tasks.items() for metric in one.task.metrics)
        return (Metric("loss", "loss"), *own)

    def figures(self, totals: Totals) -> dict[str, float | None]:
        """The weighted loss, and each task's own figures, none of one that has not begun or is over."""
        found: dict[str, float | None] = {"loss": totals["loss"] / totals["samples"] if totals["samples"] else None}
        for name, one in self.tasks.items():
            own = one.task.figures({total: totals[f"{name}/{total}"] for total in one.task.sums})
            found |= {f"{name}/{metric}": value for metric, value in own.items()}
        return found

    @property
    def whole_batch(self) -> bool:
        """Whether one of them needs it."""
        return any(one.task.whole_batch for one in self.tasks.values())

    @property
    def fields(self) -> tuple[str, ...]:
        """Those of all."""
        return tuple(dict.fromkeys(field for one in self.tasks.values() for field in one.task.fields))

    def own_fields(self, features: Any) -> "Sequence[FieldSpec]":
        """Those of all."""
        return tuple(dict.fromkeys(field for one in self.tasks.values() for field in one.task.own_fields(features)))

    def reason_against(self, model: Any) -> str | None:
        """The first that one of them has."""
        reasons = (one.task.reason_against(model) for one in self.tasks.values())
        return next((reason for reason in reasons if reason is not None), None)

    def reason_against_inputs(self, features: Any) -> str | None:
        """Likewise."""
        reasons = (one.task.reason_against_inputs(features) for one in self.tasks.values())
        return next((reason for reason in reasons if reason is not None), None)

    @property
    def label_aided(self) -> str | None:
        """Of those that are."""
        said = [aided for one in self.tasks.values() if (aided := one.task.label_aided) is not None]
        return "; ".join(dict.fromkeys(said)) or None
