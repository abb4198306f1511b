"""`gavt train` and a loop written by hand, in turns in one process."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from cluster.process_group import join_process_group
from pipeline.experiment import ExperimentSettings
from pipeline.models.dropout import Dropout
from pipeline.stream.batch import Batch
from pipeline.train.load import untrained
from pipeline.train.loop import train


@dataclass(frozen=True)
class Times:
    """Seconds a step, and what a step of training waited for data."""

    ours: float
    by_hand: float


class PlainDropout(Dropout):
    """Torch's dropout in the place of the project's."""

    def forward(self, tensor: Tensor) -> Tensor:
        return F.dropout(tensor, self.rate, self.training)


class HandLoop:
    """The training that anybody would write: float32, eager, AdamW, clipping, no checkpoints, no log."""

    def __init__(self, settings: ExperimentSettings, batches: Iterator[Batch], plain_dropout: bool = False) -> None:
        """
        Args:
            plain_dropout: torch's own instead of the project's.
        """
        self.settings, self.batches = settings, batches
        self.system = untrained(settings, "cpu", settings.seed).train()
        for module in self.system.modules() if plain_dropout else ():
            if isinstance(module, Dropout):
                module.__class__ = PlainDropout
        self.optimizer = torch.optim.AdamW(self.system.parameters(), lr=1e-5, fused=True)

    def step(self) -> None:
        """One step, its batch included."""
        settings, batch = self.settings, next(self.batches)
        targets = self.system.task.targets(settings.seed, batch.positions, batch.metadata, "train")
        loss, _ = self.system(batch.inputs("cpu"), targets)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.system.parameters(), settings.train.clip_norm)
        self.optimizer.step()
        loss.item()


def contest(settings: ExperimentSettings, by_hand: HandLoop, run: Path) -> Times:
    """Train in the folder `run`, and after each record do as many steps by hand as lie between two records. The first
    block of both is not counted: threads, caches and compilation start there."""
    os.environ["WANDB_MODE"] = "disabled"
    block = settings.train.log_every
    ours: list[float] = []
    theirs: list[float] = []
    left = time.perf_counter()

    def on_record(record: dict[str, object]) -> None:
        nonlocal left
        ours.append((time.perf_counter() - left) / block)
        torch.use_deterministic_algorithms(False)
        begun = time.perf_counter()
        for _ in range(block):
            by_hand.step()
        theirs.append((time.perf_counter() - begun) / block)
        torch.use_deterministic_algorithms(True)
        left = time.perf_counter()

    group = join_process_group()
    try:
        train(settings, str(run), group, on_record)
    finally:
        group.leave()
        torch.use_deterministic_algorithms(False)
    return Times(sum(ours[1:]) / len(ours[1:]), sum(theirs[1:]) / len(theirs[1:]))
