"""How much a model computes for one sample, counted on the meta device: nothing is allocated."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from cluster.process_group import ProcessGroup
from pipeline.models.contract import AudioVisualModel
from pipeline.models.peak_flops import device_peak_flops
from pipeline.models.recompute import set_checkpointing
from pipeline.tasks.task import System, heads
from pipeline.train.run_settings import RunSettings
from pipeline.train.system import build_system, example_batch


@dataclass(frozen=True)
class SampleFlops:
    """FLOPs of one sample with all that the objective makes of it; a multiply-add is 2.

    Counted are convolutions, linear layers and both products of attention, of sound and picture. Not counted are
    spectrograms, norms, activations, softmax, the optimiser: what a matrix unit does not do.

    Attributes:
        forward: of the forward pass.
        backward: of the backward pass, about twice as much.
        recomputed: forward again in the backward pass under activation checkpointing. It is no use of the model, so
            utilisation leaves it out.
        parts: `forward` by part: those of the model (of G-AVT visual_embedder, audio_embedder, encoder), the
            objective's head and teacher, and `other`: what is in no module of these.
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
        if settings.train.recomputed != "none":
            set_checkpointing(system, settings.train.recomputed)
            recomputed = _count(system, settings)[1] - backward
    return SampleFlops(forward, backward, recomputed, parts)


def model_flops_utilization(samples_per_s: float, flops: SampleFlops, devices: int, peak_flops: float) -> float:
    """MFU, 0–1: what the model needs at this pace over what so many devices can compute at most.

    Args:
        samples_per_s: of the whole job.
        peak_flops: FLOP/s of one device, as `pipeline.models.peak_flops` says.
    """
    return samples_per_s * flops.training / (devices * peak_flops)


class Utilisation:
    """How much of what the job's GPUs can compute the model uses; silent where no data sheet says what they can."""

    def __init__(self, settings: RunSettings, group: ProcessGroup) -> None:
        self._peak = device_peak_flops(group.device, settings.train.precision) if group.is_main else None
        self._flops = training_flops(settings) if self._peak is not None else None
        self._devices = group.world_size

    def of(self, samples_per_s: float) -> dict[str, float]:
        """`mfu`, 0–1, at a pace of the whole job; nothing where it is not known."""
        if self._peak is None or self._flops is None:
            return {}
        return {"mfu": round(model_flops_utilization(samples_per_s, self._flops, self._devices, self._peak), 4)}


def _count(system: System, settings: RunSettings) -> tuple[int, int, dict[str, int]]:
    """Forward and backward FLOPs of a sample, and the forward ones by part."""
    names = {module: f"System.{name}" for name, module in system.named_modules()}
    taught = [teacher for teacher, _ in system.teachers()]
    parts = {name: [part] for name, part in system.model.parts().items()}
    parts |= {"head": [head for head in heads(system.task) if head not in taught], "teacher": taught}
    deepest = max(place.count(".") for place in names.values())
    from torch.utils.flop_counter import FlopCounterMode  # with triton, for who counts

    counter = FlopCounterMode(
        display=False, depth=deepest + 1, custom_mapping={torch.ops.aten.convolution_backward: _convolution_backward}
    )
    with counter:
        loss, _ = system(*example_batch(system, settings, 1, "meta"))
        whole = counter.get_total_flops()
        called = {name: sum(operations.values()) for name, operations in counter.get_flop_counts().items()}
        loss.backward()
        backward = counter.get_total_flops() - whole

    def count(module: nn.Module) -> int:
        """Of its calls; of what is not called itself, such as a list, those of its children."""
        if names[module] in called:
            return int(called[names[module]])
        return sum(count(child) for child in _counted(module))

    models = [module for module in system.modules() if isinstance(module, AudioVisualModel)]
    forward = whole - sum(count(child) for model in models for child in set(model.children()) - set(_counted(model)))
    found = {name: sum(count(module) for module in modules) for name, modules in parts.items()}
    found = {name: flops for name, flops in found.items() if flops}
    rest = forward - sum(found.values())
    return forward, backward, found | ({"other": rest} if rest else {})


def _counted(module: nn.Module) -> list[nn.Module]:
    """The children of a module; of a model those whose FLOPs are its own."""
    return list(module.parts().values() if isinstance(module, AudioVisualModel) else module.children())


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
