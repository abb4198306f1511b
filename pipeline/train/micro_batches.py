"""Micro-batches with a look ahead."""

from collections.abc import Callable
from dataclasses import replace

import torch

from pipeline.errors import RunError
from pipeline.stream.ahead import Ahead
from pipeline.stream.batch import Batch
from pipeline.stream.device_copy import DeviceCopy
from pipeline.tasks.contract import Purpose
from pipeline.tasks.task import Task


class MicroBatches(Ahead[Batch]):
    """Gives micro-batches and says beforehand whether there is another one.

    So a process that has no data, because its shards can't be read any more, say, tells the others at the end of a step
    instead of leaving them waiting for it in the middle of the next.
    """

    def __next__(self) -> Batch:
        if not self.has_more():
            self.fail()
        return super().__next__()

    def fail(self) -> None:
        """Say why there is no more.

        Raises:
            RunError: another process has no data, or there is none left.
            Exception: whatever reading it here has raised.
        """
        self.check()
        raise RunError("a process has no data for another step; the log of another rank says why")


def prepared(task: Task, seed: int, purpose: Purpose, device: torch.device) -> Callable[[Batch], Batch]:
    """What makes of a batch as it was read one that the task is trained on: its targets are drawn, and all of it lies
    on the device."""
    copy = DeviceCopy(device)

    def prepare(batch: Batch) -> Batch:
        targets = task.targets(seed, batch.positions, batch.metadata, purpose)
        ready = copy(replace(batch, targets=targets))
        _ = ready.keys, ready.replaced  # looked up here, and not by the thread that trains
        return ready

    return prepare
