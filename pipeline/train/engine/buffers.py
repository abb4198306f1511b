"""Batch norm's running averages, which no optimiser owns."""

import torch
from torch import Tensor, nn

from cluster.process_group import ProcessGroup


def average_buffers(model: nn.Module, group: ProcessGroup) -> None:
    """Make batch norm's running averages those of all processes together, of norms that have moved them; every process
    must call it.

    DeepSpeed saves one process's buffers only, so differing ones would not survive a restart.
    """
    if group.world_size == 1:
        return
    moving = [module for module in model.modules() if module.training]
    named = [pair for module in moving for pair in module.named_buffers(recurse=False)]
    buffers = [buffer for name, buffer in named if name in ("running_mean", "running_var")]
    if not buffers:
        return
    flat = torch.cat([buffer.flatten() for buffer in buffers])
    torch.distributed.all_reduce(flat)
    flat /= group.world_size
    for buffer, mean in zip(buffers, torch.split(flat, [buffer.numel() for buffer in buffers]), strict=True):
        buffer.copy_(mean.view_as(buffer))


def keep_buffers(model: nn.Module) -> list[Tensor]:
    """Copies of batch norm's running averages and counts, for `put_back_buffers` where a step is left out."""
    return [buffer.clone() for buffer in _changing_buffers(model)]


def put_back_buffers(model: nn.Module, kept: list[Tensor]) -> None:
    """Undo what forward passes since `keep_buffers` did to the buffers."""
    for buffer, before in zip(_changing_buffers(model), kept, strict=True):
        buffer.copy_(before)


def _changing_buffers(model: nn.Module) -> list[Tensor]:
    names = (".running_mean", ".running_var", ".num_batches_tracked")
    return [buffer for name, buffer in model.named_buffers() if name.endswith(names)]
