"""What stays as it begins (train.freeze), in float32, where the model computes with it in 16 bits.

Training does not need that; checkpoints and exports hold it, to the bit as it was, whatever a run has computed in.
"""

from collections.abc import Iterator

import torch
import torch.distributed as dist
from torch import Tensor, nn

from cluster.process_group import ProcessGroup
from pipeline.tasks.task import System
from pipeline.train.engine.fragments import MASTER, Fragment, own_numbers, shape_of
from pipeline.train.settings import TrainSettings


class Frozen:
    """The float32 numbers of parameters that neither a gradient nor a teacher's student changes, in host memory; each
    process has a stretch of them under ZeRO, else all.

    Attributes:
        apart: these parameters; none in fp32, where they are their own.
    """

    @torch.no_grad()
    def __init__(self, system: System, settings: TrainSettings, group: ProcessGroup) -> None:
        """Take them before an engine rounds the parameters."""
        self._stage, self._group = settings.zero_stage, group
        self._changed = False
        self._held: dict[nn.Parameter, tuple[int, Tensor]] = {}
        following = {
            ours
            for pair in system.teachers()
            for ours, theirs in zip(*(one.parameters() for one in pair), strict=True)
            if theirs.requires_grad
        }
        for parameter in system.parameters() if settings.precision != "fp32" else ():
            if parameter.requires_grad or parameter in following:
                continue
            size = self._stretch(parameter)
            start = min(group.rank * size, parameter.numel()) if self._stage else 0
            numbers = parameter.detach().reshape(-1)[start : start + size]
            self._held[parameter] = (start, numbers.to("cpu", torch.float32, copy=True))
        self.apart = self._held.keys()

    def fragments(self, module: nn.Module, changed: bool) -> Iterator[Fragment]:
        """What this process holds of each.

        Args:
            changed: whether they are written to.
        """
        self._changed |= changed
        for name, parameter in module.named_parameters():
            start, numbers = self._held.get(parameter, (0, None))
            if numbers is not None and numbers.numel():
                yield Fragment(name, shape_of(parameter), start, {MASTER: numbers}, self._stage > 0)

    def refresh(self) -> None:
        """Have the model compute with these numbers, rounded, where they have changed; every process must call it."""
        changed, self._changed = self._changed, False
        for parameter, (_, numbers) in self._held.items() if changed else ():
            if self._stage in (1, 2):
                own = parameter.new_zeros(self._stretch(parameter))
                own[: numbers.numel()].copy_(numbers)
                rows = own.new_empty(self._group.world_size * own.numel())
                dist.all_gather_into_tensor(rows.view(torch.uint8), own.view(torch.uint8))
                parameter.data.view(-1).copy_(rows[: parameter.numel()])
            else:
                own_numbers(parameter)[1].copy_(numbers)

    def _stretch(self, parameter: nn.Parameter) -> int:
        """Numbers of a whole parameter that a process holds, as ZeRO 3 shares them out."""
        return -(-parameter.numel() // self._group.world_size) if self._stage else parameter.numel()
