"""The one small message that all processes exchange at the end of each step.

Every process sends a few numbers and gets those of all, so that all decide the same: whether there is data for another
step, whether some process was asked to stop, its time is up or the run is another's, whether the step was bad, and who
was slow.
"""

import signal
from collections.abc import Sequence
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
        lost: whether somebody else has taken the run over.
        applied: whether the optimiser has changed the weights.
        own_s: seconds of the step in which it did not wait for other processes.
        replaced: samples that stood in for bad ones.
    """

    has_data: bool
    stop: int
    time_up: bool
    lost: bool
    applied: bool
    own_s: float
    replaced: int


@dataclass(frozen=True)
class StepSums:
    """What all processes know of a step.

    Attributes:
        totals: by name what the task adds up; the first two are the loss's numerator and denominator.
        replaced: samples shown in the place of bad ones.
        has_data: whether every process has data for the next step.
        stop: number of the signal by which some process was asked to stop; 0 for none.
        time_up: whether some process's time is up.
        lost: whether somebody else has taken the run over.
        applied: whether the optimiser has changed the weights.
        own_s: of each process, in order of ranks, the seconds in which it did not wait for others.
    """

    totals: dict[str, float]
    replaced: float
    has_data: bool
    stop: int
    time_up: bool
    lost: bool
    applied: bool
    own_s: tuple[float, ...]

    @property
    def loss_total(self) -> float:
        """The loss's numerator."""
        return next(iter(self.totals.values()))

    @property
    def loss_count(self) -> float:
        """Its denominator: samples, or what the task counts instead."""
        return list(self.totals.values())[1]

    @property
    def stopped_by(self) -> str | None:
        """What asks the run to save and leave: a signal's name, or `time limit`; or nothing."""
        if self.stop:
            return signal.Signals(self.stop).name
        return "time limit" if self.time_up else None


def exchange(group: ProcessGroup, flags: Flags, sums: Tensor, names: Sequence[str]) -> StepSums:
    """Send this process's numbers and get the sums; every process must call it. It is the step's one wait for the GPU.

    Args:
        sums: [K] on the device, in double precision: what the task has added up, which `names` names.
    """
    words = vars(flags).values()
    mine = torch.tensor([float(word) for word in words], dtype=torch.float64).to(sums.device, non_blocking=True)
    rows = group.gather(torch.cat([sums, mine]))
    columns = list(zip(*rows, strict=True))
    has_data, stop, time_up, lost, applied, own_s, replaced = columns[len(names) :]
    return StepSums(
        totals={name: sum(column) for name, column in zip(names, columns, strict=False)},
        replaced=sum(replaced),
        has_data=all(has_data),
        stop=int(max(stop)),
        time_up=any(time_up),
        lost=any(lost),
        applied=all(applied),
        own_s=own_s,
    )
