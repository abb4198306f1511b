"""The module of an objective, and what the engine trains: a model together with it."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import TypeVar

from torch import Tensor, nn

from pipeline.models.contract import AudioVisualModel, EmbedOnce, Encoded, Inputs, Tokens
from pipeline.tasks.contract import DataWatch, Follow, Metadata, Purpose, ReadMetadata, TaskSettings

Targets = dict[str, Tensor]
"""What a micro-batch is trained towards; made on the host, used on the device. Not everything in it has B rows."""


class Task(nn.Module):
    """Heads, loss and metrics of an objective. The model is no part of it: it is handed over at each call.

    A subclass is built as `Task(settings, model)`, on the meta device, where `model` tells its streams' widths.
    """

    settings: TaskSettings

    @abstractmethod
    def targets(self, seed: int, positions: Sequence[int], metadata: Metadata, purpose: Purpose) -> Targets:
        """Targets of the samples at global positions, on the CPU; a pure function of its arguments, so that it is the
        same on any number of processes. A thread calls it ahead of the step that they are for, so it must not hang on
        the weights or on `begin_step`."""

    def further(self, inputs: Inputs, targets: Targets) -> dict[str, Inputs]:
        """What is made of a micro-batch besides, by name: mixtures, silence, noise, made on the device. It is embedded
        together with the micro-batch, and with what other tasks make of it; `forward` has it from `embed_once`."""
        return {}

    def embed_once(self, model: AudioVisualModel | EmbedOnce, inputs: Inputs, targets: Targets) -> EmbedOnce:
        """The model as `forward` is to use it that has something `further`."""
        if isinstance(model, EmbedOnce):
            return model
        return EmbedOnce(model, inputs, self.further(inputs, targets), self.hears, self.unheard)

    hears: bool = False
    """Whether it asks for the magnitudes of sounds (`EmbedOnce.heard`), which are then computed once."""
    unheard: bool = False
    """Whether it never asks for tokens of the micro-batch's own sound, only of what it has made `further`."""

    @abstractmethod
    def forward(self, model: AudioVisualModel | EmbedOnce, inputs: Inputs, targets: Targets) -> tuple[Tensor, Tensor]:
        """The loss, a scalar whose mean over micro-batches of equal size is what the step descends, and the sums [K]
        that `TaskSettings.sums` names. Nothing in it may hang on the values of tensors: it runs on the meta device
        too. A parameter that is used in one micro-batch of a step is used in all of its micro-batches."""

    def begin_step(self, step: int) -> None:
        """Step `step`, counted from 0, begins: a curriculum is a function of it."""

    def after_step(self, model: AudioVisualModel, step: int, follow: Follow) -> None:
        """The optimiser has changed the weights in step `step`: teachers follow."""

    def teachers(self, model: AudioVisualModel) -> list[tuple[nn.Module, nn.Module]]:
        """(teacher, student), two modules that are alike and have nothing in common.

        A teacher's parameters get no gradient. It begins as its student does, and computes as in evaluation always:
        without dropout, and with batch norm's averages. Parameters and buffers change where `after_step` has it follow,
        and are in checkpoints and exports.
        """
        return []

    def score(self, encoded: Encoded) -> Tensor:
        """[B] how sure the model is that the streams belong together, higher for surer; what readouts look into.

        Raises:
            NotImplementedError: the objective has no such answer (see `scores`).
        """
        raise NotImplementedError

    scores: bool = False
    """Whether there is a `score`."""

    def match(self, model: AudioVisualModel, embedded: Tokens) -> Tensor:
        """[B] how sure the model is that the streams belong together, above 0 where it says that they do, from tokens
        as the model embeds them. An objective that compares them before they meet has its own.

        Raises:
            NotImplementedError: the objective has no such answer (see `matches`).
        """
        return self.score(model.fuse(embedded))

    @property
    def matches(self) -> bool:
        """Whether there is a `match`."""
        return self.scores

    def data_watch(self) -> DataWatch | None:
        """What looks at the training data of a new run."""
        return None

    def check_validation(self, seed: int, samples: int, whole: bool, read: ReadMetadata) -> None:
        """Look at the validation set's first `samples` samples before a run begins.

        Args:
            whole: that is all that the set has.

        Raises:
            SettingsError: nothing can be judged by them.
        """


_Kind = TypeVar("_Kind", bound=nn.Module)


def objective(task: Task, kind: type[_Kind]) -> _Kind | None:
    """The objective of a class: the task itself, or the first such of several together; None without one."""
    return next((module for module in task.modules() if isinstance(module, kind)), None)


def heads(task: Task) -> list[nn.Module]:
    """The modules of an objective, or of several together, that are no objectives themselves."""
    found = []
    for module in task.modules():
        if isinstance(module, Task):
            found += [child for child in module.children() if not any(isinstance(one, Task) for one in child.modules())]
    return found


class System(nn.Module):
    """What is trained, saved and loaded: a model and an objective.

    Attributes:
        inputs: names of what the model embeds.
        frozen_norms: batch norms that compute with their running averages in training too.
    """

    frozen_norms: Sequence[nn.Module] = ()

    def __init__(self, model: AudioVisualModel, task: Task, inputs: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self.task = task
        self.inputs = tuple(inputs)

    def train(self, mode: bool = True) -> "System":
        """Compute as in training, or as in evaluation; teachers and frozen norms compute as in evaluation always."""
        super().train(mode)
        for module in (*self.frozen_norms, *(teacher for teacher, _ in self.teachers())):
            module.eval()
        return self

    def forward(self, inputs: Inputs, targets: Targets) -> tuple[Tensor, Tensor]:
        """Loss and sums, as of `Task.forward`."""
        loss, sums = self.task(self.model, inputs, targets)
        return loss, sums

    def teachers(self) -> list[tuple[nn.Module, nn.Module]]:
        """Those of the task, and their students."""
        return self.task.teachers(self.model)
