"""Activation checkpointing: blocks that are recomputed in the backward pass instead of keeping their activations."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from pipeline.models.blocks import Blocks, blocks

Mode = Literal["none", "full"] | int
_MARK = "recomputed"


def set_checkpointing(model: nn.Module, mode: Mode) -> None:
    """Choose which of a model's blocks (see `pipeline.models.blocks`) are recomputed while it trains.

    Losses, gradients and running averages stay the same to the bit: dropout draws the same again, and batch norm
    updates its averages once.

    Args:
        mode: `none`, `full`, or every n-th block.
    """
    for index, block in enumerate(blocks(model)):
        setattr(block, _MARK, mode != "none" and index % (1 if mode == "full" else int(mode)) == 0)


def run_block(block: nn.Module, *inputs: Any) -> Any:
    """What `block(*inputs)` gives, by recomputation where that was chosen for it."""
    if not getattr(block, _MARK, False) or not block.training or not torch.is_grad_enabled():
        return block(*inputs)
    contexts = partial(_contexts, block)
    return checkpoint(block, *inputs, use_reentrant=False, context_fn=contexts)


class Stages(Blocks):
    """Blocks one after the other, each kept or recomputed."""

    def forward(self, input: Tensor) -> Tensor:
        for block in self:
            input = run_block(block, input)
        return input


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Around the block's forward pass, and around its recomputation."""
    return nullcontext(), _running_averages_kept(block)


@contextmanager
def _running_averages_kept(block: nn.Module) -> Iterator[None]:
    """Put batch norm's running averages back as they were: the forward pass has updated them already.

    They are put back instead of not being updated, so that a compiled block is recomputed by the very same code.
    """
    norms = [module for module in block.modules() if isinstance(module, _BatchNorm)]
    buffers = [buffer for norm in norms for buffer in norm.buffers(recurse=False)]
    before = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:  # recomputation stops by an exception as soon as it has what is needed
        for buffer, value in zip(buffers, before, strict=True):
            buffer.copy_(value)
