"""The one small message that all processes exchange at the end of each step.

Every process sends a few numbers and gets those of all, so that all decide the same: whether there is data for another
step, whether some process was asked to stop or its time is up, whether the step was bad, and who was slow.
"""

import signal
from dataclasses import dataclass

import torch
from torch import Tensor

from cluster.process_group import ProcessGroup


@dataclass(frozen=True)
class Flags:
    """What one process says.

    Attributes:
        has_data: whether it has data for the next step.
        stop: number of the signal that asked it to stop; 0 for none.
        time_up: whether it should leave now.
        applied: whether the optimiser has changed the weights.
        own_s: seconds of the step in which it did not wait for other processes.
        replaced: samples that stood in for bad ones.
        pairs: pairs that it has judged.
    """

    has_data: bool
    stop: int
    time_up: bool
    applied: bool
    own_s: float
    replaced: int
    pairs: int


@dataclass(frozen=True)
class StepSums:
    """What all processes know of a step.

    Attributes:
        loss: sum over all pairs of the step.
        correct: pairs that were judged rightly.
        pairs: pairs shown.
        replaced: samples shown in the place of bad ones.
        has_data: whether every process has data for the next step.
        stop: number of the signal by which some process was asked to stop; 0 for none.
        time_up: whether some process's time is up.
        applied: whether the optimiser has changed the weights.
        own_s: of each process, in order of ranks, the seconds in which it did not wait for others.
    """

    loss: float
    correct: float
    pairs: float
    replaced: float
    has_data: bool
    stop: int
    time_up: bool
    applied: bool
    own_s: tuple[float, ...]

    @property
    def stopped_by(self) -> str | None:
        """What asks the run to save and leave: a signal's name, or `time limit`; or nothing."""
        if self.stop:
            return signal.Signals(self.stop).name
        return "time limit" if self.time_up else None


def exchange(group: ProcessGroup, flags: Flags, sums: Tensor) -> StepSums:
    """Send this process's numbers and get the sums; every process must call it. It is the step's one wait for the GPU.

    Args:
        sums: [2] on the device, in double precision: loss summed over the pairs, and pairs judged rightly.
    """
    words = [flags.has_data, flags.stop, flags.time_up, flags.applied, flags.own_s, flags.replaced, flags.pairs]
    mine = torch.tensor([float(word) for word in words], dtype=torch.float64).to(sums.device, non_blocking=True)
    rows = group.gather(torch.cat([sums, mine]))
    loss, correct, has_data, stop, time_up, applied, own_s, replaced, pairs = zip(*rows, strict=True)
    return StepSums(
        loss=sum(loss),
        correct=sum(correct),
        pairs=sum(pairs),
        replaced=sum(replaced),
        has_data=all(has_data),
        stop=int(max(stop)),
        time_up=any(time_up),
        applied=all(applied),
        own_s=own_s,
    )
