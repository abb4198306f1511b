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
    world, rank = (_PLANNED.get(), 0) if own.is_meta else _world()
    if world == 1:
        return own, 0
    everyone: Tensor = _Gather.apply(own, world, rank)
    return everyone, rank * len(own)


def _world() -> tuple[int, int]:
    """How many processes there are, and which one this is."""
    return (dist.get_world_size(), dist.get_rank()) if dist.is_initialized() else (1, 0)


class _Gather(torch.autograd.Function):
    """On the meta device nothing travels, but what holds it takes as much memory."""

    @staticmethod
    def forward(context: Any, own: Tensor, world: int, rank: int) -> Tensor:
        context.world, context.rank = world, rank
        everyone = own.new_empty((world * len(own), *own.shape[1:]))
        if not own.is_meta:
            dist.all_gather_into_tensor(everyone, own.contiguous())
        return everyone

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        # summed whole: gloo has no reduce-scatter
        (everyone,) = gradients
        summed = everyone.contiguous().clone()
        if not summed.is_meta:
            dist.all_reduce(summed)
        return summed.chunk(context.world)[context.rank], None, None
