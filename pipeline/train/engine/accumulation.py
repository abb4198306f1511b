"""Gradients are added up in float32, whatever the precision of the model, and forgotten after a step.

bf16 has 8 significant bits: what is added to a sum of a few hundred like numbers is rounded away. DeepSpeed would add
up the gradients of micro-batches, and those of processes, in the model's precision.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.train.settings import TrainSettings


def accumulates(settings: TrainSettings, micro_batch: int, world_size: int) -> bool:
    """Whether a step adds up the gradients of several micro-batches."""
    return settings.batch_size > micro_batch * world_size


def sum_settings(settings: TrainSettings, micro_batch: int, world_size: int) -> dict[str, Any]:
    """Sections of DeepSpeed's configuration: what is added up in float32 that would not be. Where nothing is added up,
    nothing is allocated for it."""
    found: dict[str, Any] = {}
    if settings.precision == "fp32":
        return found
    stage, several = settings.zero_stage, accumulates(settings, micro_batch, world_size)
    if stage > 0 and several:
        found["data_types"] = {"grad_accum_dtype": "fp32"}
    # at stages 0 and 1 sums over micro-batches go through it, even where a process is alone
    if world_size > 1 or (stage < 2 and several):
        found["communication_data_type"] = "fp32"
    return found


@contextmanager
def zero_1_keeps_its_optimizer() -> Iterator[None]:
    """Have DeepSpeed build the same optimiser for ZeRO-1 in bf16 with sums in float32 as with others: it can do so, but
    DeepSpeed 0.19 chooses one of another layout (BF16_Optimizer), which keeps all sums whole on every process."""
    from deepspeed.runtime.constants import BFLOAT16
    from deepspeed.runtime.engine import ZERO_OPTIMIZATION, DeepSpeedEngine

    choose = DeepSpeedEngine._do_optimizer_sanity_check

    def choose_zero(engine: Any, optimizer: Any) -> Any:
        chosen = choose(engine, optimizer)
        return ZERO_OPTIMIZATION if chosen == BFLOAT16 and engine.zero_optimization() else chosen

    DeepSpeedEngine._do_optimizer_sanity_check = choose_zero
    try:
        yield
    finally:
        DeepSpeedEngine._do_optimizer_sanity_check = choose


def finish_sums(engine: Any) -> None:
    """What DeepSpeed's settings leave to do where a new engine adds up micro-batches in 16 bits."""
    stage = engine.zero_optimization_stage()
    if stage == 0:
        _sum_without_zero(engine)
    elif stage < 3 and engine.zero_cpu_offload():
        _forget_left_out_sums(engine.optimizer)


def _forget_left_out_sums(optimizer: Any) -> None:
    """Begin new sums after a step that was left out, where optimiser states are in host memory: DeepSpeed 0.19 would
    add to the old ones, which are not finite."""
    reset = optimizer.reset_cpu_buffers

    def reset_all() -> None:
        reset()
        for number in optimizer.averaged_gradients:
            optimizer.averaged_gradients[number] = None

    optimizer.reset_cpu_buffers = reset_all


def _sum_without_zero(engine: Any) -> None:
    """Have autograd add up the parameters' gradients in float32, at stage 0, where DeepSpeed has no setting for it."""
    parameters = [parameter for parameter in engine.module.parameters() if parameter.requires_grad]
    for parameter in parameters:
        parameter.grad_dtype = torch.float32

    def gradients() -> tuple[list[Tensor], dict[str, list[Tensor]]]:
        return [_gradient(parameter) for parameter in parameters], {}

    # what DeepSpeed asks an optimiser for that keeps gradients of its own; without it, it would give a parameter that
    # has none one of the model's precision
    engine.optimizer.get_grads_for_reduction = gradients


def _gradient(parameter: nn.Parameter) -> Tensor:
    if parameter.grad is None:  # on this process; others may have one
        parameter.grad = torch.zeros_like(parameter, dtype=torch.float32)
    return parameter.grad


def forget_gradients(engine: Any) -> None:
    """Put zeros in the place of the gradients of a step that is done. DeepSpeed 0.19 writes over them; of a parameter
    that has none in the next step, as of an objective that is over, it would step with the last one again."""
    stage, optimizer = engine.zero_optimization_stage(), engine.optimizer
    if stage == 3:
        optimizer.grad_partitions_flat_buffer.zero_()
    elif stage > 0 and engine.zero_cpu_offload():
        for share in optimizer.single_partition_of_fp32_groups:
            share.grad.zero_()


def hand_over_idle(engine: Any) -> None:
    """Before a step, give the states that ZeRO-3 keeps elsewhere the zeros of what had no gradient in it: DeepSpeed
    hands over the others alone."""
    optimizer = engine.optimizer
    if engine.zero_optimization_stage() < 3 or not optimizer.offload_optimizer:
        return
    busy = optimizer._offload_boundary_param_ids
    optimizer._offload_boundary_param_ids = {one.ds_id for group in optimizer.fp16_groups for one in group} - busy
    optimizer._finalize_offload_gradient_accumulation()
    optimizer._offload_boundary_param_ids = busy
