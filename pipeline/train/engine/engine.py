"""What is trained, in DeepSpeed's engine: all that the rest of training does with it."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from cluster.process_group import ProcessGroup
from pipeline.models.contract import Inputs
from pipeline.tasks.task import System, Targets
from pipeline.train.engine.accumulation import forget_gradients, hand_over_idle
from pipeline.train.engine.fragments import (
    MASTER,
    Fragment,
    base_optimizer,
    buffer_fragments,
    frozen_fragments,
    masters,
    refresh,
    shape_of,
    trained_fragments,
)
from pipeline.train.engine.frozen import Frozen
from pipeline.train.engine.optimizer import KINDS
from pipeline.train.engine.teachers import Teachers
from pipeline.train.settings import TrainSettings

_COUNTERS = ("global_steps", "global_samples", "skipped_steps")
_SCALE = ("cur_scale", "cur_iter", "last_overflow_iter", "cur_hysteresis")


class Engine:
    """A system with its optimiser, shared out between the processes as ZeRO does; `build_engine` makes one.

    What changes or gathers weights is joint work: every process calls the same in the same order.

    Attributes:
        module: the system. At ZeRO stage 3 its parameters are whole only while it computes.
        zero_stage: 0 to 3; from 1 on no two processes hold the same of what is stepped.
        group: the processes.
    """

    def __init__(self, deepspeed: Any, settings: TrainSettings, group: ProcessGroup, frozen: Frozen) -> None:
        self._deepspeed, self._precision, self.group = deepspeed, settings.precision, group
        self.module: System = deepspeed.module
        self.zero_stage: int = settings.zero_stage
        self._optimizer = KINDS[settings.optimizer]
        self._frozen = frozen
        self._teachers = Teachers(deepspeed, self.module.teachers(), settings.precision, group)

    def train(self) -> None:
        """Compute as in training."""
        self._deepspeed.train()

    def eval(self) -> None:
        """Compute as in evaluation."""
        self._deepspeed.eval()

    def forward(self, inputs: Inputs, targets: Targets) -> tuple[Tensor, Tensor]:
        """Loss and sums of a micro-batch, as of the task."""
        loss, sums = self._deepspeed(inputs, targets)
        return loss, sums

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a micro-batch's loss to the step's."""
        self._deepspeed.backward(loss)

    def step(self) -> None:
        """End a micro-batch; with a step's last one the optimiser changes the weights. What had no gradient in the step
        is stepped with zeros."""
        last = self._deepspeed.is_gradient_accumulation_boundary()
        if last:
            hand_over_idle(self._deepspeed)
        self._deepspeed.step()
        if last:
            forget_gradients(self._deepspeed)

    @property
    def was_applied(self) -> bool:
        """Whether the last optimiser step changed the weights.

        It did not where the gradient held a number that is not finite: then weights, states and step counts stay as
        they were to the bit, on all processes alike, and the gradients are gone. In fp16 the loss scale also falls;
        such steps are part of finding it as long as the loss itself is finite. Buffers are not the optimiser's: batch
        norm's averages have seen the batch (`keep_buffers`).

        Tried at stages 0 to 3 in fp32 and bf16, with and without offload to host memory; fp16 follows from DeepSpeed's
        source and has not been run.
        """
        return bool(self._deepspeed.was_step_applied())

    @property
    def grad_norm(self) -> float | None:
        """Norm of the last step's gradient before clipping; None where it was not finite."""
        norm = self._deepspeed.get_global_grad_norm()
        return float(norm) if norm is not None and math.isfinite(norm) else None

    @property
    def loss_scale(self) -> float | None:
        """What the loss is multiplied with in fp16; None in other precisions."""
        return float(self._deepspeed.optimizer.loss_scale) if self._precision == "fp16" else None

    @property
    def searches_scale(self) -> bool:
        """Whether a gradient that is not finite is no fault: in fp16, as long as a lower scale can be tried."""
        return self.loss_scale is not None and self.loss_scale > 1

    def set_learning_rate(self, rate: float) -> None:
        """For the next step; a group of parameters has its factor of it (see `optimizer.parameter_groups`)."""
        for group in self._deepspeed.optimizer.param_groups:
            group["lr"] = rate * group["rate_factor"]

    def before_step(self, call: Callable[[], None]) -> None:
        """Have something called each time before the optimiser changes the weights."""
        self._deepspeed.basic_optimizer.register_step_pre_hook(lambda *_: call())

    def fragments(self, averages: Sequence[Tensor] | None = None, *, changed: bool = False) -> Iterator[Fragment]:
        """The stretches of all parameters and persistent buffers that this process holds, in the memory that training
        uses. What is written to them, in a block of `changing`, is trained on.

        States that ZeRO keeps in files are in memory only until the next fragment is asked for.

        Args:
            averages: moving averages of `masters`.
            changed: whether they are written to: the optimiser's states are made where there are none yet, and what was
                in files is written back.
        """
        yield from trained_fragments(self._deepspeed, self._optimizer, averages, changed)
        yield from self._teachers.fragments(self.module)
        yield from self._frozen.fragments(self.module, changed)
        yield from frozen_fragments(self.module, self._teachers.apart | self._frozen.apart)
        yield from buffer_fragments(self.module)

    def masters(self) -> list[Tensor]:
        """What torch's optimiser steps: the parameters, their float32 copies, or this process's flat share of them."""
        return masters(self._deepspeed)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """A block in which masters or fragments are changed; after it the model computes with them."""
        if self.zero_stage == 3:
            self._deepspeed.optimizer.checkpoint_event_prologue()
        yield
        refresh(self._deepspeed)
        self._teachers.refresh()
        self._frozen.refresh()
        if self.zero_stage == 3:
            self._deepspeed.optimizer.checkpoint_event_epilogue()

    @torch.no_grad()
    def take(self, weights: Mapping[str, Tensor]) -> None:
        """Go on with these weights [shape of the parameter] by name: in 16 bits an engine begins with masters that are
        rounded as its parameters are."""
        with self.changing():
            for one in self.fragments(changed=True):
                if one.name in weights:
                    one.kinds[MASTER].copy_(weights[one.name].reshape(-1)[one.start : one.start + one.size])

    def follow(self, teacher: nn.Module, student: nn.Module, rate: float) -> None:
        """Move a teacher after its student, directly after a step: teacher ← (1 − rate) · teacher + rate · student.

        Each process moves what it holds, in float32 and from the optimiser's masters. Processes talk only in 16 bits
        at ZeRO 1 and 2, where all need the whole teacher: they give each other its rounded parameters, as for each
        step those of what is trained. Buffers follow in the same way (batch norm's averages, say); whole numbers are
        the student's.

        Raises:
            ValueError: the task doesn't name them as teacher and student, or the rate is not in 0–1.
        """
        self._teachers.follow(teacher, student, rate)

    def counters(self) -> dict[str, Any]:
        """What is counted, and in fp16 the loss scale: small numbers, alike on all processes."""
        steps = [float(state["step"]) for state in base_optimizer(self._deepspeed).state.values() if "step" in state]
        scaler = self._loss_scaler()
        return {name: int(getattr(self._deepspeed, name)) for name in _COUNTERS} | {
            "optimizer_step": max(steps, default=0.0),
            "loss_scale": {name: getattr(scaler, name) for name in _SCALE if hasattr(scaler, name)},
        }

    def set_counters(self, saved: Mapping[str, Any]) -> None:
        """Go on counting from what `counters` gave."""
        for name in _COUNTERS:
            setattr(self._deepspeed, name, saved[name])
        for state in base_optimizer(self._deepspeed).state.values():
            if "step" in state:
                state["step"].fill_(saved["optimizer_step"])
        scaler = self._loss_scaler()
        for name, value in saved["loss_scale"].items():
            if hasattr(scaler, name):
                setattr(scaler, name, value)

    def _loss_scaler(self) -> Any:
        """What fp16 searches its loss scale with; None in other precisions, where DeepSpeed keeps a scale of 1 that
        must not become that of a run that goes on in fp16, nor the other way round."""
        if not self._deepspeed.fp16_enabled():
            return None
        optimizer = self._deepspeed.optimizer
        return getattr(optimizer, "loss_scale_config", None) or getattr(optimizer, "loss_scaler", None)

    @torch.no_grad()
    def full_weights(self) -> dict[str, Tensor]:
        """All parameters (their float32 masters) and persistent buffers, on the CPU; gathered from all processes, one
        parameter at a time."""
        own = {}
        for one in self.fragments():
            numbers = one.kinds[MASTER]
            own[one.name] = (one, numbers.clone() if self.states_in_files else numbers)
        weights: dict[str, Tensor] = {}
        for name, parameter in self.module.named_parameters():
            shape = shape_of(parameter)
            whole = torch.zeros(math.prod(shape), device=self.group.device)
            if name in own:
                one, numbers = own.pop(name)
                whole[one.start : one.start + one.size].copy_(numbers)
            if self._is_shared_out(parameter):
                self.group.add_up(whole.view(torch.int32))  # the bits, to which zeros add nothing
            weights[name] = whole.view(shape).cpu()
        return weights | {name: buffer.view(one.shape).cpu().clone() for name, (one, buffer) in own.items()}

    def _is_shared_out(self, parameter: nn.Parameter) -> bool:
        """Whether no process has all of a parameter's masters."""
        apart = self._teachers.apart | self._frozen.apart
        return self.zero_stage == 3 or (self.zero_stage > 0 and (parameter.requires_grad or parameter in apart))

    @property
    def states_in_files(self) -> bool:
        """Whether masters and optimiser states lie in files (offload = nvme)."""
        return bool(self._deepspeed.zero_nvme_offload_optimizer())

    def destroy(self) -> None:
        """Give its memory back; it can't be used any more."""
        self._deepspeed.destroy()
