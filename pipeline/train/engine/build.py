"""DeepSpeed's engine from settings."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from cluster.process_group import ProcessGroup
from pipeline.errors import SettingsError
from pipeline.models.blocks import blocks
from pipeline.tasks.task import System
from pipeline.train.engine.accumulation import accumulates, finish_sums, zero_1_keeps_its_optimizer
from pipeline.train.engine.deepspeed_settings import deepspeed_settings
from pipeline.train.engine.engine import Engine
from pipeline.train.engine.file_operations import load_file_operations
from pipeline.train.engine.fragments import held, masters
from pipeline.train.engine.frozen import Frozen
from pipeline.train.engine.importing import import_deepspeed, quiet_deepspeed
from pipeline.train.engine.muon import Muon
from pipeline.train.engine.offload import check_offload
from pipeline.train.engine.optimizer import build_optimizer
from pipeline.train.engine.teachers import begin_teachers, check_teachers
from pipeline.train.engine.without_compiler import need_compiler
from pipeline.train.settings import TrainSettings


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


def choose_kernels(settings: TrainSettings, on_gpu: bool) -> None:
    """Have torch compute the same to the bit whenever it computes the same, or as fast as it can.

    Only where kernels that don't are errors does attention take those that do; where torch only warns of them it
    takes the others.
    """
    on = settings.deterministic
    if settings.compiles(on_gpu):
        torch.use_deterministic_algorithms(on)
    else:  # the same without the compiler, whose import takes two seconds
        torch.set_deterministic_debug_mode("error" if on else "default")
    torch.backends.cudnn.benchmark = not on
    # nothing reads uninitialised memory, and filling it takes long
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


@contextmanager
def unrepeatable_named() -> Iterator[None]:
    """Have an operation of a model that can't repeat to the bit, by which torch ends the run, name the setting.

    Raises:
        SettingsError: there is one.
    """
    try:
        yield
    except RuntimeError as error:
        operation, found, _ = str(error).partition(" does not have a deterministic implementation")
        if not found:
            raise
        raise SettingsError(
            f"train.deterministic: expected operations that repeat to the bit, found {operation}, which doesn't on "
            "this device; train.deterministic=false takes it as it is"
        ) from error


def build_engine(system: System, settings: TrainSettings, micro_batch: int, group: ProcessGroup) -> Engine:
    """Put a system into DeepSpeed's engine, with its optimiser. Its teachers begin as their students are.

    Raises:
        SettingsError: as of `check_machine` and `check_teachers`.
    """
    check_machine(settings, group)
    check_teachers(system, settings)
    begin_teachers(system.teachers())
    compiles = settings.compiles(group.device.type == "cuda")
    need_compiler(compiles)
    frozen = Frozen(system, settings, group)
    if compiles:
        compile_blocks(system)
    # DeepSpeed still calls collectives by names that torch is about to drop
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed\..*")
    deepspeed = import_deepspeed()
    with quiet_deepspeed():
        deepspeed.init_distributed(
            dist_backend="nccl" if group.device.type == "cuda" else "gloo",
            auto_mpi_discovery=False,
            verbose=False,
            dist_init_required=False,
        )
        if settings.offload == "nvme":
            load_file_operations()
        parameters = sum(parameter.numel() for parameter in system.parameters())
        trained = sum(parameter.numel() for parameter in system.parameters() if parameter.requires_grad)
        optimizer = build_optimizer(system, settings)
        with zero_1_keeps_its_optimizer(), _without_a_step(optimizer):
            engine, *_ = deepspeed.initialize(
                model=system,
                optimizer=optimizer,
                config=deepspeed_settings(settings, micro_batch, group.world_size, parameters, trained),
                dist_init_required=False,
            )
    if settings.precision != "fp32" and accumulates(settings, micro_batch, group.world_size):
        finish_sums(engine)
    if settings.precision == "fp32" and settings.offload == "none":
        _step_parameters_themselves(engine)
    if isinstance(optimizer, Muon):
        optimizer.lay_out(held(engine, changed=False), masters(engine), group)
    scaler = getattr(engine.optimizer, "loss_scaler", None)
    if scaler is not None and hasattr(scaler, "raise_error_at_min_scale"):
        scaler.raise_error_at_min_scale = False  # steps that no scale helps are counted as bad ones instead
    return Engine(engine, settings, group, frozen)


@contextmanager
def _without_a_step(optimizer: Any) -> Iterator[None]:
    """Keep DeepSpeed from the step with zero gradients by which it makes the states without ZeRO in 16 bits: it would
    count in their bias correction, and the weights would decay in it."""
    step = optimizer.step
    optimizer.step = lambda: None
    yield
    optimizer.step = step


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


def compile_blocks(model: nn.Module) -> None:
    """Compile each block where it stands; the parameters keep their names."""
    found = blocks(model)
    # blocks of one class share their code, and each shape of them is compiled for training and for evaluation; beyond
    # the limit torch would leave the others as they are
    dynamo = torch._dynamo.config
    dynamo.recompile_limit = max(dynamo.recompile_limit, 4 * len(found))
    for block in found:
        block.compile(dynamic=False)
