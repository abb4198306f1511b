"""Objectives that ask for what a run may not have (an input, a stream, a score, a teacher that can follow), and a model
that has little."""

from typing import Any, Literal

from torch import Tensor, nn

from pipeline.models.settings import ModelSettings
from pipeline.settings.registry import Kind
from pipeline.tasks.contract import Metric, TaskSettings
from pipeline.tasks.task import Task


class _Demanding(TaskSettings):
    @property
    def sums(self) -> tuple[str, ...]:
        return ("loss", "samples")

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return (Metric("loss", "loss"),)


class WordsSettings(_Demanding):
    kind: Literal["words"] = "words"

    @property
    def fields(self) -> tuple[str, ...]:
        return ("words",)


class TouchSettings(_Demanding):
    kind: Literal["touch"] = "touch"

    def reason_against(self, model: Any) -> str | None:
        return None if "touch" in model.streams else f"a model with the stream touch, found {', '.join(model.streams)}"


class MuteSettings(_Demanding):
    kind: Literal["mute"] = "mute"


class Mute(Task):
    """It has no score."""

    def __init__(self, settings: _Demanding, model: object) -> None:
        super().__init__()
        self.settings = settings

    def targets(self, *_: object) -> dict[str, Tensor]:
        raise NotImplementedError

    def forward(self, *_: object) -> tuple[Tensor, Tensor]:
        raise NotImplementedError


class TaughtSettings(_Demanding):
    kind: Literal["taught"] = "taught"


class Taught(Mute):
    """It has a teacher."""

    def __init__(self, settings: TaughtSettings, model: object) -> None:
        super().__init__(settings, model)
        self.teacher, self.student = nn.Linear(1, 1), nn.Linear(1, 1)

    def teachers(self, model: object) -> list[tuple[nn.Module, nn.Module]]:
        return [(self.teacher, self.student)]


class BlindSettings(ModelSettings):
    """A model that sees nothing."""

    kind: Literal["blind"] = "blind"

    @property
    def fields(self) -> tuple[str, ...]:
        return ("sound",)

    @property
    def streams(self) -> tuple[str, ...]:
        return ("audio",)


MODEL_KINDS = {"blind": Kind("demanding_tasks:BlindSettings")}
TASK_KINDS = {
    "words": Kind("demanding_tasks:WordsSettings"),
    "touch": Kind("demanding_tasks:TouchSettings"),
    "mute": Kind("demanding_tasks:MuteSettings", "demanding_tasks:Mute"),
    "taught": Kind("demanding_tasks:TaughtSettings", "demanding_tasks:Taught"),
}
