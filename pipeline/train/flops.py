"""How much a model computes for one sample, counted on the meta device: nothing is allocated."""

from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from pipeline.models.recompute import set_checkpointing
from pipeline.tasks.task import System, heads
from pipeline.train.run_settings import RunSettings
from pipeline.train.system import build_system, example_batch


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
        system = build_system(settings)
        forward, backward, parts = _count(system, settings)
        recomputed = 0
        if settings.train.activation_checkpointing != "none":
            set_checkpointing(system, settings.train.activation_checkpointing)
            recomputed = _count(system, settings)[1] - backward
    return SampleFlops(forward, backward, recomputed, parts)


def model_flops_utilization(samples_per_s: float, flops: SampleFlops, devices: int, peak_flops: float) -> float:
    """MFU, 0–1: what the model needs at this pace over what so many devices can compute at most.

    Args:
        samples_per_s: of the whole job.
        peak_flops: FLOP/s of one device, as `pipeline.models.peak_flops` says.
    """
    return samples_per_s * flops.training / (devices * peak_flops)


def _count(system: System, settings: RunSettings) -> tuple[int, int, dict[str, int]]:
    """Forward and backward FLOPs of a sample, and the forward ones by part."""
    names = {module: f"System.{name}" for name, module in system.named_modules()}
    parts = {name: [names[part]] for name, part in system.model.parts().items()}
    parts["head"] = [names[head] for head in heads(system.task)]
    known = [place for places in parts.values() for place in places]
    features = {names[child] for child in system.model.children()} - set(known)
    deepest = max(place.count(".") for place in names.values())
    counter = FlopCounterMode(
        display=False, depth=deepest + 1, custom_mapping={torch.ops.aten.convolution_backward: _convolution_backward}
    )
    with counter:
        loss, _ = system(*example_batch(system, settings, 1, "meta"))
        whole = counter.get_total_flops()
        modules = {name: sum(operations.values()) for name, operations in counter.get_flop_counts().items()}
        loss.backward()
        backward = counter.get_total_flops() - whole
    forward = whole - sum(modules.get(place, 0) for place in features)
    found = {name: sum(modules.get(place, 0) for place in places) for name, places in parts.items()}
    found = {name: count for name, count in found.items() if count}
    rest = forward - sum(found.values())
    return forward, backward, found | ({"other": rest} if rest else {})


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
