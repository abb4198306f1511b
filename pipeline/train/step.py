"""One optimiser step: micro-batches forward and backward, the update, and what all processes know of it afterwards."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from cluster.process_group import ProcessGroup
from pipeline.settings.experiment import ExperimentSettings
from pipeline.stream.batch import Batch
from pipeline.tasks.mma import draw_pairs
from pipeline.train.engine import average_buffers
from pipeline.train.schedule import learning_rate_at

_DROPOUT_STRIDE = 1_000_003


@dataclass(frozen=True)
class StepSums:
    """Sums over all processes and micro-batches of a step.

    Attributes:
        loss: of the pairs.
        correct: pairs that were judged rightly.
        pairs: pairs shown.
        replaced: samples shown in the place of bad ones.
        stop: above 0 where a process was asked to stop.
    """

    loss: float
    correct: float
    pairs: float
    replaced: float
    stop: float


def run_step(
    engine: Any,
    batches: Iterator[Batch],
    step: int,
    settings: ExperimentSettings,
    micro_batch: int,
    group: ProcessGroup,
    stop: bool,
) -> StepSums:
    """Do step `step`, counted from 0; every process must call it.

    Args:
        stop: whether this process was asked to stop; all of them learn of it.
    """
    accumulated = settings.train.batch_size // (micro_batch * group.world_size)
    for parameters in engine.optimizer.param_groups:
        parameters["lr"] = learning_rate_at(step, settings.train)
    # dropout is keyed by step and rank, so that a resumed run draws the same
    torch.manual_seed(settings.seed + _DROPOUT_STRIDE * (step * group.world_size + group.rank + 1))
    loss_sum = correct = shown = replaced = 0.0
    for _ in range(accumulated):
        batch = next(batches)
        frames, waveform = batch.on_device(group.device, settings.features.frame_size)
        pairs = draw_pairs(settings.task, settings.seed, batch.positions, batch.metadata)
        loss, right = engine(frames, waveform, pairs.to(group.device))
        engine.backward(loss)
        engine.step()
        loss_sum += float(loss.detach()) * len(pairs)
        correct += float(right)
        shown += len(pairs)
        replaced += batch.replaced
    average_buffers(engine.module, group)
    return StepSums(*group.sum([loss_sum, correct, shown, replaced, float(stop)]))
