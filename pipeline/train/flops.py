"""How much a model computes for one sample, counted on the meta device: nothing is allocated."""

from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from pipeline.models.recompute import set_checkpointing
from pipeline.tasks.mma import TaskModel
from pipeline.train.example import example_batch, task_model
from pipeline.train.run_settings import RunSettings


@dataclass(frozen=True)
class SampleFlops:
    """FLOPs of one sample with all the pairs that it is in; a multiply-add is 2.

    Counted are convolutions, linear layers and both products of attention, of sound and picture. Not counted are
    spectrograms, norms, activations, softmax, the optimiser: what a matrix unit does not do.

    Attributes:
        forward: of the forward pass.
        backward: of the backward pass, about twice as much.
        recomputed: forward again in the backward pass under activation checkpointing. It is no use of the model, so
            utilisation leaves it out.
        parts: `forward` by part: visual_embedder, audio_embedder, encoder, head (and what else the model has).
    """

    forward: int
    backward: int
    recomputed: int
    parts: dict[str, int]

    @property
    def training(self) -> int:
        """Forward and backward."""
        return self.forward + self.backward


def training_flops(settings: RunSettings) -> SampleFlops:
    """FLOPs of one sample of an experiment (seconds for the largest models: count once and keep it)."""
    with torch.device("meta"):
        model = task_model(settings)
        forward, backward, parts = _count(model, settings)
        recomputed = 0
        if settings.train.activation_checkpointing != "none":
            set_checkpointing(model, settings.train.activation_checkpointing)
            recomputed = _count(model, settings)[1] - backward
    return SampleFlops(forward, backward, recomputed, parts)


def model_flops_utilization(samples_per_s: float, flops: SampleFlops, devices: int, peak_flops: float) -> float:
    """MFU, 0–1: what the model needs at this pace over what so many devices can compute at most.

    Args:
        samples_per_s: of the whole job.
        peak_flops: FLOP/s of one device, as `pipeline.models.peak_flops` says.
    """
    return samples_per_s * flops.training / (devices * peak_flops)


def _count(model: TaskModel, settings: RunSettings) -> tuple[int, int, dict[str, int]]:
    """Forward and backward FLOPs of a sample, and the forward ones by part."""
    counter = FlopCounterMode(
        display=False, depth=4, custom_mapping={torch.ops.aten.convolution_backward: _convolution_backward}
    )
    with counter:
        loss, _ = model(*example_batch(settings, 1))
        whole = counter.get_total_flops()
        modules = {name: sum(operations.values()) for name, operations in counter.get_flop_counts().items()}
        loss.backward()
        backward = counter.get_total_flops() - whole
    features = modules.get("TaskModel.model.spectrogram", 0)
    parts = {name: modules.get(f"TaskModel.model.{name}", 0) for name, _ in model.model.named_children()}
    parts = {name: count for name, count in parts.items() if count and name != "spectrogram"}
    parts["head"] = modules.get("TaskModel.head", 0)
    rest = whole - features - sum(parts.values())
    if rest:
        parts["other"] = rest
    return whole - features, backward, parts


def _convolution_backward(
    gradient: Any,
    inputs: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    *rest: Any,
    **shapes: Any,
) -> int:
    """Each of both gradients takes as many multiply-adds as the forward pass; torch's own rule takes the weight's
    gradient of grouped convolutions for that of a full one."""
    places = inputs if transposed else gradient
    output_mask = rest[-1]
    products = gradient[0]
    for size in (*weight, *places[2:]):
        products *= size
    return 2 * int(products) * (int(output_mask[0]) + int(output_mask[1]))
