"""One optimiser step: micro-batches forward and backward, the update, and what all processes know of it afterwards."""

from dataclasses import dataclass

import torch
from torch import Tensor

from cluster.process_group import ProcessGroup
from pipeline.train.engine.buffers import KeptBuffers, average_buffers
from pipeline.train.engine.build import unrepeatable_named
from pipeline.train.engine.engine import Engine
from pipeline.train.health.own_time import OwnTime
from pipeline.train.health.step_flags import Flags, StepSums, exchange
from pipeline.train.health.watchdog import Watchdog
from pipeline.train.micro_batches import MicroBatches
from pipeline.train.run_settings import RunSettings
from pipeline.train.schedule import learning_rate_at

_DROPOUT_STRIDE = 1_000_003


@dataclass(frozen=True)
class StopRequest:
    """What this process was asked for, or has heard of, since the last step; all processes learn of it.

    Attributes:
        stop: number of the signal that asks it to stop; 0 for none.
        time_up: whether its time is up.
        lost: whether somebody else has taken the run over.
    """

    stop: int = 0
    time_up: bool = False
    lost: bool = False


class Stepper:
    """Does one step after the other, with micro-batches that are `prepared`."""

    def __init__(
        self,
        settings: RunSettings,
        micro_batch: int,
        group: ProcessGroup,
        batches: MicroBatches,
        watchdog: Watchdog,
    ) -> None:
        self._settings, self._group, self._batches, self._watchdog = settings, group, batches, watchdog
        self._accumulated = settings.train.batch_size // (micro_batch * group.world_size)
        self._own, self._kept = OwnTime(group.device), KeptBuffers()
        self._shown: list[tuple[list[int], list[str], Tensor]] = []

    def run(self, engine: Engine, step: int, request: StopRequest, spike_above: float | None) -> StepSums:
        """Do step `step`, counted from 0; every process must call it.

        Args:
            spike_above: mean loss above which the step is left out; None for no such limit.
        """
        settings, group = self._settings, self._group
        engine.set_learning_rate(learning_rate_at(step, settings.train))
        # dropout is keyed by step and rank, so that a resumed run draws the same
        _seed(settings.seed + _DROPOUT_STRIDE * (step * group.world_size + group.rank + 1), group.device)
        system, names = engine.module, settings.task.sums
        self._kept.keep(system)
        system.task.begin_step(step)
        sums = torch.zeros(len(names), dtype=torch.float64, device=group.device)
        self._shown, replaced = [], 0
        for micro_step in range(self._accumulated):
            self._watchdog.beat("reading data", step)
            with self._own.reading():
                batch = next(self._batches)
            self._watchdog.beat("forward and backward", step)
            inputs = batch.inputs()
            with self._own.forward(), unrepeatable_named():
                loss, added = engine.forward(inputs, batch.targets)
            sums += added
            replaced += batch.replaced
            bad = ~loss.detach().isfinite()
            self._shown.append((batch.positions, batch.keys, bad))
            if spike_above is not None and micro_step == self._accumulated - 1:
                bad = bad | self._is_spike(sums, spike_above)
            # a gradient that is no number makes the optimiser leave the step out, on all processes and at every stage
            with unrepeatable_named():
                engine.backward(loss * torch.where(bad, torch.nan, 1.0).to(loss.dtype))
            engine.step()
        applied = engine.was_applied
        if not applied:
            self._kept.put_back()
        average_buffers(system, group)
        if applied:
            system.task.after_step(system.model, step, engine.follow)
        self._watchdog.beat("reading data", step + 1)
        with self._own.reading():
            has_data = self._batches.has_more()
        flags = Flags(has_data, request.stop, request.time_up, request.lost, applied, self._own.take(), replaced)
        self._watchdog.beat("end of the step", step)
        return exchange(group, flags, sums, names)

    def suspects(self) -> list[tuple[int, str]]:
        """Position and key of samples that this process showed in the last step: those of the micro-batches whose loss
        was no finite number or, where there was none, all."""
        shown = [one for one in self._shown if bool(one[2])] or self._shown
        return [sample for positions, keys, _ in shown for sample in zip(positions, keys, strict=True)]

    def _is_spike(self, sums: Tensor, limit: float) -> Tensor:
        """Whether the mean loss of all processes is above the limit; decided on the device, without waiting for it."""
        both = sums[:2].clone()
        self._group.add_up(both)
        return both[0] > limit * both[1]


def _seed(seed: int, device: torch.device) -> None:
    """Seed what draws on the processor and on the device. `torch.manual_seed` seeds every kind of device, and notes a
    stack for each kind that is not in use, which takes a millisecond."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index].manual_seed(seed)
