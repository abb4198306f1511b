"""The one small message that all processes exchange at the end of each step.

Every process sends a few numbers and gets those of all, so that all decide the same: whether there is data for another
step, whether some process was asked to stop or its time is up, whether the step was bad, and who was slow.
"""

import signal
from dataclasses import astuple, dataclass

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
        mismatches: of these, pairs of a frame and a sound that don't belong together.
        left_out: samples that could have no partner, and so are in no pair that counts.
    """

    has_data: bool
    stop: int
    time_up: bool
    applied: bool
    own_s: float
    replaced: int
    pairs: int
    mismatches: int
    left_out: int


@dataclass(frozen=True)
class StepSums:
    """What all processes know of a step.

    Attributes:
        loss: sum over all pairs of the step that count.
        correct: of these, how many were judged rightly.
        correct_mismatches: of the mismatches.
        pairs: how many count.
        mismatches: of these.
        left_out: samples in no pair that counts.
        replaced: samples shown in the place of bad ones.
        has_data: whether every process has data for the next step.
        stop: number of the signal by which some process was asked to stop; 0 for none.
        time_up: whether some process's time is up.
        applied: whether the optimiser has changed the weights.
        own_s: of each process, in order of ranks, the seconds in which it did not wait for others.
    """

    loss: float
    correct: float
    correct_mismatches: float
    pairs: float
    mismatches: float
    left_out: float
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
        sums: [3] on the device, in double precision: loss summed over the pairs, pairs judged rightly, and of these the
            mismatches.
    """
    words = astuple(flags)
    mine = torch.tensor([float(word) for word in words], dtype=torch.float64).to(sums.device, non_blocking=True)
    rows = group.gather(torch.cat([sums, mine]))
    loss, correct, correct_mismatches, *others = zip(*rows, strict=True)
    has_data, stop, time_up, applied, own_s, replaced, pairs, mismatches, left_out = others
    return StepSums(
        loss=sum(loss),
        correct=sum(correct),
        correct_mismatches=sum(correct_mismatches),
        pairs=sum(pairs),
        mismatches=sum(mismatches),
        left_out=sum(left_out),
        replaced=sum(replaced),
        has_data=all(has_data),
        stop=int(max(stop)),
        time_up=any(time_up),
        applied=all(applied),
        own_s=own_s,
    )
