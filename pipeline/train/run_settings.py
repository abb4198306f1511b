"""All that a training run rests on: the sections of an experiment from which its weights follow."""

from typing import TYPE_CHECKING, Annotated

from pydantic import Field, model_validator

from pipeline.features.inputs import FRAMES, SOUND
from pipeline.features.settings import FeatureSettings
from pipeline.models.registry import MODELS
from pipeline.models.settings import GavtSettings, ModelSettings
from pipeline.settings.base import Settings
from pipeline.settings.registry import KindOf
from pipeline.stream.settings import DataSettings
from pipeline.tasks.contract import TaskSettings
from pipeline.tasks.mma_settings import MmaSettings
from pipeline.tasks.registry import TASKS
from pipeline.train.metric_names import clash
from pipeline.train.settings import TrainSettings

if TYPE_CHECKING:
    from pipeline.stream.fields.contract import FieldSpec

CONFIG = "config.yaml"
"""The file in a run's folder, and beside exported weights, that has its settings."""


class RunSettings(Settings):
    """What is trained, on what and how. An experiment has other sections too; training, planning and evaluation read
    these alone, of a run that is there as of one to come."""

    name: str = Field(default="experiment", pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*$")
    """Name of the experiment; also wandb's run name unless it has another, and the run folder's in runs/."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Everything random follows from it."""
    data: DataSettings = DataSettings()
    features: FeatureSettings = FeatureSettings()
    model: Annotated[ModelSettings, KindOf(MODELS)] = GavtSettings()
    """What is trained."""
    task: Annotated[TaskSettings, KindOf(TASKS)] = MmaSettings()
    """What it learns."""
    train: TrainSettings = TrainSettings()

    @property
    def fields(self) -> "tuple[str | FieldSpec, ...]":
        """Inputs that a sample is decoded into: the model's and what else the task needs, by name, and those that the
        task describes itself."""
        named = dict.fromkeys((*self.model.fields, *self.task.fields))
        return (*named, *self.task.own_fields(self.features))

    @model_validator(mode="after")
    def _sections_fit(self) -> "RunSettings":
        group = self.task.group
        for name, samples in (("micro_batch", self.train.micro_batch), ("batch_size", self.train.batch_size)):
            if isinstance(samples, int) and samples % group:
                raise ValueError(f"train.{name} in multiples of task.group = {group}, found {samples}")
        if self.train.maps_every is not None and self.data.validation is None:
            raise ValueError("data.validation for train.maps_every, which draws its samples, found none")
        if self.train.maps_every is not None and FRAMES not in self.model.fields:
            raise ValueError(f"a model of frames for train.maps_every, found model.kind = {self.model.kind}")
        known = (FRAMES, SOUND, *self.features.inputs)
        for name in (*self.model.fields, *self.task.fields):
            if name not in known:
                raise ValueError(f"features.inputs.{name} for the model or the task, found {', '.join(known)}")
        for reason in (
            self.model.reason_against(self.features),
            self.task.reason_against(self.model),
            self.task.reason_against_inputs(self.features),
        ):
            if reason is not None:
                raise ValueError(reason)
        if (taken := clash(self.task.metrics)) is not None:
            raise ValueError(f"metrics of the task with names that nothing else in a record has, found {taken}")
        return self
