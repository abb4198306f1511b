"""Objectives that ask for what a run may not have: an input, a stream of the model, a score."""

from typing import Any, Literal

from torch import Tensor

from pipeline.tasks.contract import Metric, TaskSettings
from pipeline.tasks.registry import TASKS
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

    def __init__(self, settings: MuteSettings, model: object) -> None:
        super().__init__()
        self.settings = settings

    def targets(self, *_: object) -> dict[str, Tensor]:
        raise NotImplementedError

    def forward(self, *_: object) -> tuple[Tensor, Tensor]:
        raise NotImplementedError


TASKS.add("words", "demanding_tasks:WordsSettings")
TASKS.add("touch", "demanding_tasks:TouchSettings")
TASKS.add("mute", "demanding_tasks:MuteSettings", "demanding_tasks:Mute")
