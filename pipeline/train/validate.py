"""Validation during training: the task's loss and accuracy on the same pairs every time."""

import math
from typing import Any

import torch

from cluster.process_group import ProcessGroup
from pipeline.settings.experiment import ExperimentSettings
from pipeline.stream.loader import Loader
from pipeline.stream.steps import shares_of_validation
from pipeline.tasks.mma import draw_pairs


@torch.no_grad()
def validate(
    engine: Any, loader: Loader, settings: ExperimentSettings, group: ProcessGroup, micro_batch: int
) -> dict[str, float | None]:
    """Mean loss and accuracy over the validation samples, None where the loss is no finite number, for then no answer
    is one; every process must call it and gets the same."""
    engine.eval()
    samples = min(len(loader.plan), settings.train.validation_samples)
    loss_sum = correct = count = 0.0
    # under ZeRO-3 every forward pass is joint work, so a rank without a batch repeats its last one unseen
    rounds = math.ceil(math.ceil(samples / micro_batch) / group.world_size)
    batches = loader.batches(shares_of_validation(samples, micro_batch, group.rank, group.world_size))
    batch = None
    for _ in range(rounds):
        fresh = next(batches, None)
        batch = fresh or batch or loader.read(range(min(micro_batch, samples)))
        frames, waveform = batch.on_device(group.device, settings.features.frame_size)
        pairs = draw_pairs(settings.task, settings.seed, batch.positions, batch.metadata, "validation")
        loss, right = engine(frames, waveform, pairs.to(group.device))
        if fresh is not None:
            loss_sum += float(loss) * len(pairs)
            correct += float(right)
            count += len(pairs)
    engine.train()
    loss_sum, correct, count = group.sum([loss_sum, correct, count])
    finite = math.isfinite(loss_sum)
    return {
        "validation/loss": loss_sum / count if finite else None,
        "validation/accuracy": correct / count if finite else None,
    }
