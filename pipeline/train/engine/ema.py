"""Exponential moving average of the weights."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pipeline.train.engine.engine import Engine


class Ema:
    """An average of the optimiser's float32 weights, kept where they are: every process averages what it holds of them
    (all at ZeRO stage 0, its own part at 1 to 3), so that a step needs no talk between processes.

    Batch norm's running averages are not averaged again; with the average's weights go the buffers as they are, and
    teachers.

    Attributes:
        average: parallel to `Engine.masters()`; checkpoints keep it.
    """

    def __init__(self, engine: Engine, decay: float) -> None:
        """Start from the weights as they are."""
        self.decay = decay
        self.average = [master.detach().clone() for master in engine.masters()]

    @torch.no_grad()
    def update(self, engine: Engine) -> None:
        """Take in the weights after a step."""
        torch._foreach_lerp_(self.average, [master.detach() for master in engine.masters()], 1 - self.decay)

    @contextmanager
    def in_place(self, engine: Engine) -> Iterator[None]:
        """Let the model compute with the average; afterwards its weights are what they were, to the bit. Every process
        must enter and leave it."""
        self._swap(engine)
        try:
            yield
        finally:
            self._swap(engine)

    @torch.no_grad()
    def _swap(self, engine: Engine) -> None:
        with engine.changing():
            for average, master in zip(self.average, engine.masters(), strict=True):
                kept = average.clone()
                average.copy_(master)
                master.copy_(kept)
