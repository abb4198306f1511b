"""DeepSpeed's engine from settings."""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from cluster.process_group import ProcessGroup
from pipeline.errors import SettingsError
from pipeline.models.blocks import blocks
from pipeline.train.engine.accumulation import accumulates, finish_sums, sum_settings, zero_1_keeps_its_optimizer
from pipeline.train.engine.file_operations import load_file_operations
from pipeline.train.engine.offload import check_offload, engine_sections, offload_settings
from pipeline.train.engine.optimizer import build_optimizer
from pipeline.train.settings import TrainSettings

_BUCKET = 200_000_000
"""Most numbers that ZeRO reduces or gathers at once."""


def micro_batch_of(settings: TrainSettings, world_size: int, group: int) -> int:
    """Samples a process handles at once.

    Raises:
        SettingsError: the batch, the micro-batch, the world size and the pairing group don't divide.
    """
    if settings.batch_size % world_size:
        raise SettingsError(
            f"train.batch_size: expected a multiple of the {world_size} processes, found {settings.batch_size}"
        )
    micro = settings.batch_at_once(world_size)
    if settings.batch_size % (micro * world_size):
        raise SettingsError(
            f"train.micro_batch: expected a divisor of train.batch_size / processes = "
            f"{settings.batch_size // world_size}, found {micro}"
        )
    if micro % group:
        raise SettingsError(
            f"task.group: expected a divisor of the micro-batch of {micro} samples a process, found {group}"
        )
    return micro


def check_machine(settings: TrainSettings, group: ProcessGroup) -> None:
    """Refuse what this process's machine can't do.

    Raises:
        SettingsError: its device can't compute in the precision that is asked for, or as of `check_offload`.
    """
    on_cpu = group.device.type == "cpu"
    if settings.precision == "fp16" and on_cpu and not torch.ops.mkldnn._is_mkldnn_fp16_supported():
        raise SettingsError("train.precision: this CPU can't compute in fp16; use bf16 or fp32")
    if settings.precision == "bf16" and not on_cpu and not torch.cuda.is_bf16_supported():
        raise SettingsError("train.precision: this GPU can't compute in bf16; use fp16 or fp32")
    check_offload(settings)


def compute_repeatably() -> None:
    """Have torch compute the same to the bit whenever it computes the same, as far as it can."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    # nothing reads uninitialised memory, and filling it takes long
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def build_engine(model: nn.Module, settings: TrainSettings, micro_batch: int, group: ProcessGroup) -> Any:
    """Wrap a model in a DeepSpeed engine with its optimiser.

    Raises:
        SettingsError: as of `check_machine`.
    """
    check_machine(settings, group)
    if settings.compile:
        compile_blocks(model)
    # DeepSpeed still calls collectives by names that torch is about to drop
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed\..*")
    with quiet_deepspeed():
        import deepspeed

        # compiled at the first start, for inference only; a start that is killed meanwhile leaves a lock behind for
        # which all later ones would wait
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        deepspeed.init_distributed(
            dist_backend="nccl" if group.device.type == "cuda" else "gloo",
            auto_mpi_discovery=False,
            verbose=False,
            dist_init_required=False,
        )
        if settings.offload == "nvme":
            load_file_operations()
        _import_unused_optimizer()
        parameters = sum(parameter.numel() for parameter in model.parameters())
        with zero_1_keeps_its_optimizer():
            engine, *_ = deepspeed.initialize(
                model=model,
                optimizer=build_optimizer(model, settings),
                config=deepspeed_settings(settings, micro_batch, group.world_size, parameters),
                dist_init_required=False,
            )
    if settings.zero_stage == 0 and settings.precision != "fp32":
        # DeepSpeed has taken a step with zero gradients to make the moments, which would count in their bias correction
        engine.optimizer.optimizer.state.clear()
    if settings.precision != "fp32" and accumulates(settings, micro_batch, group.world_size):
        finish_sums(engine)
    if settings.precision == "fp32" and settings.offload == "none":
        _step_parameters_themselves(engine)
    scaler = getattr(engine.optimizer, "loss_scaler", None)
    if scaler is not None and hasattr(scaler, "raise_error_at_min_scale"):
        scaler.raise_error_at_min_scale = False  # steps that no scale helps are counted as bad ones instead
    return engine


def _step_parameters_themselves(engine: Any) -> None:
    """Free the master copy of what ZeRO shares out in fp32, where it would be the parameters' twin: a quarter of what a
    process holds of them and their moments. DeepSpeed 0.19 means to do so at stage 3, but compares a device with its
    name."""
    optimizer, stage = engine.optimizer, engine.zero_optimization_stage()
    if stage == 3:
        for copy, own in zip(
            optimizer.fp32_partitioned_groups_flat, optimizer.fp16_partitioned_groups_flat, strict=True
        ):
            copy.data = own.data
    elif stage > 0:
        rank = torch.distributed.get_rank()
        for copy, parts in zip(
            optimizer.single_partition_of_fp32_groups, optimizer.parallel_partitioned_bit16_groups, strict=True
        ):
            copy.data = parts[rank].data
        optimizer._link_all_hp_params()  # which has noted where each parameter's copy lies


def searches_scale(engine: Any, settings: TrainSettings) -> bool:
    """Whether a gradient that is not finite is no fault: in fp16, as long as the loss scaler can try a lower scale."""
    return settings.precision == "fp16" and float(engine.optimizer.loss_scale) > 1


def compile_blocks(model: nn.Module) -> None:
    """Compile each block where it stands; the parameters keep their names."""
    found = blocks(model)
    # blocks of one class share their code, and each shape of them is compiled for training and for evaluation; beyond
    # the limit torch would leave the others as they are
    dynamo = torch._dynamo.config
    dynamo.recompile_limit = max(dynamo.recompile_limit, 4 * len(found))
    for block in found:
        block.compile(dynamic=False)


def step_was_applied(engine: Any) -> bool:
    """Whether the last optimiser step changed the weights.

    It did not where the gradient held a number that is not finite: then weights, moments and step counts stay as they
    were to the bit, on all processes alike, and the gradients are gone. In fp16 the loss scale also falls; such steps
    are part of finding it as long as the loss itself is finite. Buffers are not the optimiser's: batch norm's averages
    have seen the batch (`keep_buffers`).

    Tried at stages 0 to 3 in fp32 and bf16, with and without offload to host memory; fp16 follows from DeepSpeed's
    source and has not been run.
    """
    return bool(engine.was_step_applied())


def deepspeed_settings(settings: TrainSettings, micro_batch: int, world_size: int, parameters: int) -> dict[str, Any]:
    """DeepSpeed's own configuration for a model with that many parameters."""
    # buffers of this size are allocated every step, whatever the model needs; ZeRO wants an even one
    bucket = min(_BUCKET, parameters + parameters % 2)
    return {
        "train_batch_size": settings.batch_size,
        "train_micro_batch_size_per_gpu": micro_batch,
        "gradient_accumulation_steps": settings.batch_size // (micro_batch * world_size),
        # without ZeRO in fp32 the optimiser clips, as it needs the norm anyway
        "gradient_clipping": 0.0 if settings.zero_stage == 0 and settings.precision == "fp32" else settings.clip_norm,
        "zero_optimization": {
            "stage": settings.zero_stage,
            "reduce_bucket_size": bucket,
            "allgather_bucket_size": bucket,
            "contiguous_gradients": True,
            "overlap_comm": torch.cuda.is_available(),
            # what is smaller stays whole on every process, so that it costs no message of its own; but in a small model
            # that would be all of it
            "stage3_param_persistence_threshold": min(100_000, parameters // 1000),
            **offload_settings(settings),
        },
        **engine_sections(settings),
        **sum_settings(settings, micro_batch, world_size),
        "bf16": {"enabled": settings.precision == "bf16", "check_grad_overflow": True},
        # a scale of 2^16 at first, halved by every step that overflows and doubled after 1000 that don't
        "fp16": {"enabled": settings.precision == "fp16", "initial_scale_power": 16, "hysteresis": 1},
        # torch's own AdamW runs everywhere; DeepSpeed's fused one would be compiled first
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 2**62,
        "wall_clock_breakdown": False,
    }


def average_buffers(model: nn.Module, group: ProcessGroup) -> None:
    """Make batch norm's running averages those of all processes together; every process must call it.

    DeepSpeed saves one process's buffers only, so differing ones would not survive a restart.
    """
    if group.world_size == 1:
        return
    buffers = [buffer for name, buffer in model.named_buffers() if name.endswith((".running_mean", ".running_var"))]
    if not buffers:
        return
    flat = torch.cat([buffer.flatten() for buffer in buffers])
    torch.distributed.all_reduce(flat)
    flat /= group.world_size
    for buffer, mean in zip(buffers, torch.split(flat, [buffer.numel() for buffer in buffers]), strict=True):
        buffer.copy_(mean.view_as(buffer))


def keep_buffers(model: nn.Module) -> list[Tensor]:
    """Copies of batch norm's running averages and counts, for `put_back_buffers` where a step is left out."""
    return [buffer.clone() for buffer in _changing_buffers(model)]


def put_back_buffers(model: nn.Module, kept: list[Tensor]) -> None:
    """Undo what forward passes since `keep_buffers` did to the buffers."""
    for buffer, before in zip(_changing_buffers(model), kept, strict=True):
        buffer.copy_(before)


def _changing_buffers(model: nn.Module) -> list[Tensor]:
    names = (".running_mean", ".running_var", ".num_batches_tracked")
    return [buffer for name, buffer in model.named_buffers() if name.endswith(names)]


def full_weights(engine: Any) -> dict[str, Tensor]:
    """All parameters (their float32 master copy) and persistent buffers, on the CPU.

    Every process must call it; under ZeRO the parts are gathered from all of them.
    """
    from deepspeed.utils import safe_get_full_fp32_param

    masters = {} if engine.zero_optimization() else _masters_without_zero(engine.optimizer)
    weights: dict[str, Tensor] = {}
    for name, parameter in engine.module.named_parameters():
        full = masters[parameter] if masters else safe_get_full_fp32_param(parameter)
        # in fp32 without ZeRO the parameter is its own master
        weights[name] = (parameter.data if full is None else full).detach().float().cpu().clone()
    persistent = engine.module.state_dict(keep_vars=True).keys() - weights.keys()
    for name, buffer in engine.module.named_buffers():
        if name in persistent:
            weights[name] = buffer.detach().cpu().clone()
    return weights


def _masters_without_zero(optimizer: Any) -> dict[nn.Parameter, Tensor]:
    """The float32 copies that DeepSpeed's 16-bit optimisers keep at ZeRO stage 0, where it has no function for them."""
    groups = getattr(optimizer, "fp16_groups", None)
    if groups is None:
        return {}
    if hasattr(optimizer, "fp32_groups_flat"):
        flat = optimizer.fp32_groups_flat
        masters = [
            [piece.view_as(p) for piece, p in zip(torch.split(whole, [p.numel() for p in group]), group, strict=True)]
            for whole, group in zip(flat, groups, strict=True)
        ]
    else:
        masters = optimizer.fp32_groups
    return {p: m for group, copies in zip(groups, masters, strict=True) for p, m in zip(group, copies, strict=True)}


def _import_unused_optimizer() -> None:
    """Import DeepSpeed's Muon, which it does when it looks whether it knows an optimiser, without what that costs: its
    functions are made ready for torch.compile, a quarter of the time that a start or restart takes."""
    from deepspeed.runtime import compiler

    compile_before = compiler.compile
    compiler.compile = lambda *words, **named: lambda function: function
    try:
        import deepspeed.runtime.zero.muon.original_muon  # noqa: F401
    finally:
        compiler.compile = compile_before


@contextlib.contextmanager
def quiet_deepspeed() -> Iterator[None]:
    """Keep DeepSpeed's start-up messages (hundreds of lines) out of the log; warnings pass."""
    loggers = [
        logging.getLogger(name)
        for name in ("DeepSpeed", "deepspeed", "deepspeed.accelerator", "torch.utils.cpp_extension")
    ]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
