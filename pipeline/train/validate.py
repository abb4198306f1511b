"""Validation during training: the task's metrics on the same targets every time."""

import math

import torch

from cluster.process_group import ProcessGroup
from pipeline.stream.ahead import Ahead
from pipeline.stream.loader import Loader
from pipeline.stream.steps import shares_of_validation
from pipeline.tasks.task import Task
from pipeline.train.engine.engine import Engine
from pipeline.train.metric_names import VALIDATION
from pipeline.train.micro_batches import prepared
from pipeline.train.run_settings import RunSettings


@torch.no_grad()
def validate(
    engine: Engine, loader: Loader, settings: RunSettings, group: ProcessGroup, micro_batch: int
) -> dict[str, float | None]:
    """The task's metrics over the validation samples, by name behind `validation/`. Every process must call it and gets
    the same."""
    engine.eval()
    samples, task = validated_samples(loader, settings), engine.module.task
    sums = [0.0] * len(settings.task.sums)
    # under ZeRO-3 every forward pass is joint work, so a rank without a batch repeats its last one unseen
    rounds = math.ceil(math.ceil(samples / micro_batch) / group.world_size)
    pieces = shares_of_validation(samples, micro_batch, group.rank, group.world_size)
    prepare = prepared(task, settings.seed, "validation", group.device)
    batch = None
    with Ahead(map(prepare, loader.batches(pieces)), loader.interrupt) as batches:
        for _ in range(rounds):
            fresh = next(batches, None)
            batch = fresh or batch or prepare(loader.read(range(min(micro_batch, samples))))
            _, added = engine.forward(batch.inputs(), batch.targets)
            if fresh is not None:
                sums = [before + now for before, now in zip(sums, added.tolist(), strict=True)]
    engine.train()
    totals = dict(zip(settings.task.sums, group.sum(sums), strict=True))
    return {VALIDATION + name: value for name, value in settings.task.figures(totals).items()}


def check_validation(loader: Loader | None, task: Task, settings: RunSettings) -> None:
    """Have the task look at the samples that will be validated, if there are any, before a run begins.

    Raises:
        SettingsError: nothing can be judged by them.
    """
    if loader is not None:
        samples = validated_samples(loader, settings)
        whole = samples == len(loader.plan)
        task.check_validation(settings.seed, samples, whole, lambda positions: loader.read(positions).metadata)


def validated_samples(loader: Loader, settings: RunSettings) -> int:
    """How many samples of the validation set are used: its first ones."""
    return min(len(loader.plan), settings.train.validation_samples)
