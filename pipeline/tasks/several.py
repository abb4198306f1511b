"""Several objectives over one model, weighted."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from pipeline.models.contract import AudioVisualModel, EmbedOnce, Encoded, Inputs, Tokens
from pipeline.tasks.contract import DataWatch, Follow, Metadata, Purpose, ReadMetadata, Totals
from pipeline.tasks.registry import TASKS
from pipeline.tasks.several_settings import SeveralSettings
from pipeline.tasks.task import Targets, Task


class SeveralTasks(Task):
    """The weighted sum of objectives. One whose weight is 0 in a step is not computed in it; its heads, and what no
    other uses of the model, have a gradient of zeros then. Before the first step all have their full weights."""

    settings: SeveralSettings

    def __init__(self, settings: SeveralSettings, model: AudioVisualModel) -> None:
        super().__init__()
        self.settings = settings
        self.tasks = nn.ModuleDict(
            {name: TASKS.part_of(one.task)(one.task, model) for name, one in settings.tasks.items()}
        )
        self._weights = {name: one.weight for name, one in settings.tasks.items()}
        self.hears = any(task.hears for _, task in self._each())

    def _each(self) -> Iterator[tuple[str, Task]]:
        for name, task in self.tasks.items():
            assert isinstance(task, Task)
            yield name, task

    def targets(self, seed: int, positions: Sequence[int], metadata: Metadata, purpose: Purpose) -> Targets:
        """Of each its own as NAME/…, whether or not it is computed in the step that they are for."""
        found: Targets = {}
        for name, task in self._each():
            own = task.targets(seed, positions, metadata, purpose)
            found |= {f"{name}/{key}": target for key, target in own.items()}
        return found

    def further(self, inputs: Inputs, targets: Targets) -> dict[str, Inputs]:
        """Of each that is computed in this step, its own as NAME/…"""
        return {
            f"{name}/{key}": made
            for name, task in self._each()
            if self._weights[name]
            for key, made in task.further(inputs, _of(name, targets)).items()
        }

    def forward(self, model: AudioVisualModel | EmbedOnce, inputs: Inputs, targets: Targets) -> tuple[Tensor, Tensor]:
        """The sum of the losses, each times its weight in this step; in the sums its own are as if it were alone."""
        once = self.embed_once(model, inputs, targets)
        first = next(iter(inputs.values()))
        loss, sums = torch.zeros((), device=first.device), []
        for name, task in self._each():
            weight, count = self._weights[name], len(task.settings.sums)
            if weight:
                task_loss, task_sums = task(once.of_task(name), inputs, _of(name, targets))
                loss = loss + weight * task_loss
                sums.append(task_sums.double())
            else:
                sums.append(torch.zeros(count, dtype=torch.float64, device=first.device))
        samples = torch.full_like(loss, len(first), dtype=torch.float64)
        whole = torch.stack([loss.detach().double() * len(first), samples])
        return loss, torch.cat([whole, *sums])

    def begin_step(self, step: int) -> None:
        self._weights = {name: one.weight_at(step) for name, one in self.settings.tasks.items()}
        for _, task in self._each():
            task.begin_step(step)

    def after_step(self, model: AudioVisualModel, step: int, follow: Follow) -> None:
        for _, task in self._each():
            task.after_step(model, step, follow)

    def teachers(self, model: AudioVisualModel) -> list[tuple[nn.Module, nn.Module]]:
        return [pair for _, task in self._each() for pair in task.teachers(model)]

    @property
    def unheard(self) -> bool:  # type: ignore[override]  # it hangs on its tasks
        """Whether none of them asks."""
        return all(task.unheard for _, task in self._each())

    @property
    def scores(self) -> bool:  # type: ignore[override]  # it hangs on its tasks
        """Whether one of them does."""
        return any(task.scores for _, task in self._each())

    def score(self, encoded: Encoded) -> Tensor:
        """Of the first that has one."""
        return next(task for _, task in self._each() if task.scores).score(encoded)

    @property
    def matches(self) -> bool:
        """Whether one of them does."""
        return any(task.matches for _, task in self._each())

    def match(self, model: AudioVisualModel, embedded: Tokens) -> Tensor:
        """Of the first that has one."""
        return next(task for _, task in self._each() if task.matches).match(model, embedded)

    def data_watch(self) -> "DataWatch | None":
        watches = {name: watch for name, task in self._each() if (watch := task.data_watch()) is not None}
        return _Watches(watches, self.settings) if watches else None

    def check_validation(self, seed: int, samples: int, whole: bool, read: ReadMetadata) -> None:
        for _, task in self._each():
            task.check_validation(seed, samples, whole, read)


def _of(name: str, targets: Targets) -> Targets:
    """One task's own."""
    return {key.removeprefix(f"{name}/"): target for key, target in targets.items() if key.startswith(f"{name}/")}


class _Watches:
    """Those of several tasks; each sees its own sums of the steps in which it is computed."""

    def __init__(self, watches: dict[str, DataWatch], settings: SeveralSettings) -> None:
        self._watches, self._settings = watches, settings

    def add(self, totals: Totals, samples: int, whole: bool) -> str | None:
        said = []
        for name, watch in self._watches.items():
            own = {total: totals[f"{name}/{total}"] for total in self._settings.tasks[name].task.sums}
            sentence = watch.add(own, samples, whole) if any(own.values()) else None
            said += [] if sentence is None else [f"task {name}: {sentence}"]
        return "; ".join(said) or None
