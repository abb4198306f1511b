"""Validation during training: the task's loss and accuracy on the same pairs every time."""

import math
from dataclasses import astuple, fields
from typing import Any

import torch

from cluster.process_group import ProcessGroup
from pipeline.stream.loader import Loader
from pipeline.stream.steps import shares_of_validation
from pipeline.tasks.ceiling import CeilingCounts, counted_pairs
from pipeline.tasks.mma import balanced_accuracy, draw_pairs
from pipeline.train.run_settings import RunSettings


@torch.no_grad()
def validate(
    engine: Any, loader: Loader, settings: RunSettings, group: ProcessGroup, micro_batch: int
) -> dict[str, float | None]:
    """Mean loss, accuracy and what it hangs on over the validation samples, None where the loss is no finite number,
    for then no answer is one; the ceiling of accuracy where the samples say what is visible and what sounds. Every
    process must call it and gets the same."""
    engine.eval()
    samples = validated_samples(loader, settings)
    sums = [0.0] * (5 + len(fields(CeilingCounts)))
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
            numbers = pairs.numbers()
            known = CeilingCounts.of(counted_pairs(pairs, batch.metadata))
            found = [float(loss) * len(pairs), *right.tolist(), numbers.pairs, numbers.mismatches, *astuple(known)]
            sums = [before + now for before, now in zip(sums, found, strict=True)]
    engine.train()
    loss_sum, correct, correct_mismatches, count, mismatches, *known_sums = group.sum(sums)
    finite = math.isfinite(loss_sum) and count > 0
    balanced = balanced_accuracy(correct, correct_mismatches, count, mismatches)
    ceiling = CeilingCounts(*known_sums).ceiling()
    return {
        "validation/loss": loss_sum / count if finite else None,
        "validation/accuracy": correct / count if finite else None,
        "validation/balanced_accuracy": balanced if finite else None,
        "validation/mismatch_share": mismatches / count if count else None,
    } | ({} if ceiling is None else {"validation/ceiling": ceiling})


def validated_samples(loader: Loader, settings: RunSettings) -> int:
    """How many samples of the validation set are used: its first ones."""
    return min(len(loader.plan), settings.train.validation_samples)
