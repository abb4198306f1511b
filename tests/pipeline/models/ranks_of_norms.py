"""One of several processes that share a batch and normalise it together, and keep what came of it.

python ranks_of_norms.py OUT
"""

import sys
from datetime import timedelta
from itertools import product
from pathlib import Path

import torch
import torch.distributed as dist
from tiny_gavt import EMBEDDERS, inputs, some, tiny
from torch import Tensor, nn

from chosen_pairs import aligned, targets_of
from pipeline.models.norms.sync_batch import SyncBatchNorm2d
from pipeline.models.recompute import set_checkpointing
from pipeline.train.engine.buffers import KeptBuffers

DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
KINDS = {
    "float32": (torch.float32, torch.contiguous_format),
    "channels_last": (torch.float32, torch.channels_last),
    "bfloat16": (torch.bfloat16, torch.contiguous_format),
}
"""Precision and layout of an image."""
TRAINED = [
    ("resnet18", "none", torch.float32),
    *product(["convolution"], ["none", "full"], [torch.float32, torch.bfloat16]),
]
"""Visual embedder, activation checkpointing and precision."""
SHARES = [slice(0, 3), slice(3, 7)]
"""Samples of each process, of 7."""
HALVES = [slice(0, 4), slice(4, 8)]
"""The same of 8."""


def two_passes(norm: nn.Module, share: slice, device: str, kind: str) -> dict[str, Tensor]:
    """Forward and backward passes of some of the samples, and all that they leave behind."""
    (dtype, layout), generator = KINDS[kind], torch.Generator().manual_seed(0)
    shape, channels = (7, 5, 6, 4), (5, 1, 1)
    with torch.no_grad():
        norm.weight.copy_(torch.rand(5, generator=generator) + 0.5)
        norm.bias.copy_(torch.rand(5, generator=generator))
    norm = norm.to(device, dtype).train()
    # channels of other means and deviations, and samples that differ, so that no process has the means of all
    mean, deviation = torch.tensor([0.0, 1, -5, 20, 100]).view(channels), torch.tensor([1, 0.1, 3, 1, 8]).view(channels)
    found = {}
    for step in range(2):
        image = torch.randn(shape, generator=generator) + torch.randn(7, 5, 1, 1, generator=generator)
        image = (image * deviation + mean)[share].to(device, dtype).contiguous(memory_format=layout).requires_grad_()
        gradient = torch.randn(shape, generator=generator)[share].to(device, dtype)
        output = norm(image)
        output.backward(gradient.contiguous(memory_format=layout))
        found |= {f"output {step}": output.detach(), f"gradient {step}": image.grad}
    return found | {"weight": norm.weight.grad, "bias": norm.bias.grad} | dict(norm.named_buffers())


def two_steps(
    norm: str, kind: str, mode: str, dtype: torch.dtype, share: slice
) -> tuple[list[float], dict[str, Tensor]]:
    """Losses of plain descent with some of 8 samples (the mean of all processes), and the weights that come of it."""
    visual, audio = (EMBEDDERS[one] | {"norm": norm} for one in (kind, "convolution"))
    torch.manual_seed(0)  # of the head
    system = aligned(tiny(visual_embedder=visual, audio_embedder=audio, dropout=0.0)).to(dtype).train()
    set_checkpointing(system, mode)
    given = some(inputs(8), share)
    first = range(len(given["frames"]))
    matches = [int(one % 4 < 2) for one in first]
    targets = targets_of(first, [one if match else one ^ 1 for one, match in zip(first, matches, strict=True)], matches)
    losses = []
    for _ in range(2):
        loss, _ = system(given, targets)
        loss.backward()
        mean = loss.detach().clone()
        _average(mean)
        losses.append(mean.item())
        with torch.no_grad():
            for parameter in system.parameters():
                _average(parameter.grad)
                parameter -= 0.05 * parameter.grad
                parameter.grad = None
    return losses, system.state_dict()


def a_bad_batch(spoiled: bool) -> tuple[Tensor, dict[str, Tensor]]:
    """What comes out where one process gets a number that is not finite, and the buffers once that step is left out."""
    model = nn.Sequential(SyncBatchNorm2d(2))
    model(torch.rand(2, 2, 3, 3))
    kept = KeptBuffers()
    kept.keep(model)
    output = model(torch.full((2, 2, 3, 3), float("nan") if spoiled else 1.0))
    kept.put_back()
    return output.detach(), dict(model.named_buffers())


def alone() -> bool:
    """What one process does while the others do something else."""
    norm = SyncBatchNorm2d(2).eval()
    norm(torch.rand(2, 2, 3, 3)).sum().backward()
    with torch.device("meta"):
        SyncBatchNorm2d(2)(torch.empty(2, 2, 3, 3)).sum().backward()  # as FLOPs and memory are counted
    return norm.weight.grad is not None


def _average(values: Tensor) -> None:
    if dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(values)
        values /= dist.get_world_size()


def main() -> None:
    torch.set_num_threads(1)
    # two processes may share a GPU with gloo only
    dist.init_process_group("gloo", timeout=timedelta(seconds=120))
    rank = dist.get_rank()
    found = {
        "norms": {
            (device, kind): two_passes(SyncBatchNorm2d(5), SHARES[rank], device, kind)
            for device in DEVICES
            for kind in KINDS
        },
        "steps": {
            (kind, mode, dtype): two_steps("sync_batch", kind, mode, dtype, HALVES[rank])
            for kind, mode, dtype in TRAINED
        },
        "bad": a_bad_batch(spoiled=rank == 1),
        "alone": rank == 1 or alone(),
    }
    torch.save(found, Path(sys.argv[1]) / f"rank-{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
