"""Batch norm's running averages, which no optimiser owns."""

import torch
from torch import Tensor, nn

from cluster.process_group import ProcessGroup

_CHANGING = (".running_mean", ".running_var", ".num_batches_tracked")


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


class KeptBuffers:
    """Copies of batch norm's running averages and counts, to which it is put back where a step is left out; in memory
    that is used again."""

    def __init__(self) -> None:
        self._model: nn.Module | None = None
        self._pairs: list[tuple[list[Tensor], list[Tensor]]] = []

    @torch.no_grad()
    def keep(self, model: nn.Module) -> None:
        """Copy those that the model has now."""
        if model is not self._model:
            self._model = model
            own = [buffer for name, buffer in model.named_buffers() if name.endswith(_CHANGING)]
            of_type = [[buffer for buffer in own if buffer.dtype == dtype] for dtype in {one.dtype for one in own}]
            self._pairs = [(buffers, [torch.empty_like(one) for one in buffers]) for buffers in of_type]
        for buffers, copies in self._pairs:
            torch._foreach_copy_(copies, buffers)

    @torch.no_grad()
    def put_back(self) -> None:
        """Undo what forward passes since `keep` did to them."""
        for buffers, copies in self._pairs:
            torch._foreach_copy_(buffers, copies)
