"""What all processes have, on each of them, with gradient."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

_PLANNED = ContextVar("planned processes", default=1)


@contextmanager
def planned_for(processes: int) -> Iterator[None]:
    """On the meta device rows are gathered within this as by one of so many processes."""
    token = _PLANNED.set(processes)
    try:
        yield
    finally:
        _PLANNED.reset(token)


def gathered(own: Tensor) -> tuple[Tensor, int]:
    """The rows [B, …] of all processes as [W·B, …], in order of ranks, and where this process's own begin.

    Every process must call it with as many rows. The gradient that comes back to a process is what all of them found
    for its rows, added up: where each descends the mean over its own rows and the processes' gradients are averaged,
    the whole is the gradient of the mean over all rows. One process alone has its own rows; the meta device has as many
    as are planned for.
    """
    if own.is_meta:
        return (own, 0) if _PLANNED.get() == 1 else (torch.cat([own] * _PLANNED.get()), 0)
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return own, 0
    everyone: Tensor = _Gather.apply(own)
    return everyone, dist.get_rank() * len(own)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, own: Tensor) -> Tensor:
        everyone = own.new_empty((dist.get_world_size() * len(own), *own.shape[1:]))
        dist.all_gather_into_tensor(everyone, own.contiguous())
        return everyone

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        # summed whole: gloo has no reduce-scatter
        (everyone,) = gradients
        summed = everyone.contiguous().clone()
        dist.all_reduce(summed)
        return summed.chunk(dist.get_world_size())[dist.get_rank()]
