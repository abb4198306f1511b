"""Exponential moving average of the weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from pipeline.train.engine.fragments import masters, refresh


class Ema:
    """An average of the optimiser's float32 weights, kept where they are: every process averages what it holds of them
    (all at ZeRO stage 0, its own part at 1 to 3), so that a step needs no talk between processes.

    Batch norm's running averages are not averaged again; with the average's weights go the buffers as they are.

    Attributes:
        average: parallel to `fragments.masters(engine)`; checkpoints keep it.
    """

    def __init__(self, engine: Any, decay: float) -> None:
        """Start from the weights as they are."""
        self.decay = decay
        self.average = [master.detach().clone() for master in masters(engine)]

    @torch.no_grad()
    def update(self, engine: Any) -> None:
        """Take in the weights after a step."""
        torch._foreach_lerp_(self.average, [master.detach() for master in masters(engine)], 1 - self.decay)

    @contextmanager
    def in_place(self, engine: Any) -> Iterator[None]:
        """Let the model compute with the average; afterwards its weights are what they were, to the bit. Every process
        must enter and leave it."""
        self._swap(engine)
        try:
            yield
        finally:
            self._swap(engine)

    @torch.no_grad()
    def _swap(self, engine: Any) -> None:
        partitioned = engine.zero_optimization_stage() == 3
        if partitioned:
            engine.optimizer.checkpoint_event_prologue()
        for average, master in zip(self.average, masters(engine), strict=True):
            kept = average.clone()
            average.copy_(master)
            master.copy_(kept)
        refresh(engine)
        if partitioned:
            engine.optimizer.checkpoint_event_epilogue()
