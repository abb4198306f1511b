"""DeepSpeed's own configuration, from the settings of training."""

from typing import Any

import torch

from pipeline.errors import SettingsError
from pipeline.tasks.contract import TaskSettings
from pipeline.train.engine.accumulation import sum_settings
from pipeline.train.engine.offload import engine_sections, offload_settings
from pipeline.train.settings import TrainSettings

_BUCKET = 200_000_000
"""Most numbers that ZeRO reduces or gathers at once."""


def micro_batch_of(settings: TrainSettings, world_size: int, task: TaskSettings) -> int:
    """Samples a process handles at once.

    Raises:
        SettingsError: the batch, the micro-batch, the world size and the objective's group don't divide, or the
            objective compares all samples of a step and a step has several micro-batches.
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
    if micro % task.group:
        raise SettingsError(
            f"task.group: expected a divisor of the micro-batch of {micro} samples a process, found {task.group}"
        )
    if task.whole_batch and micro * world_size < settings.batch_size:
        raise SettingsError(
            f"train.micro_batch: expected train.batch_size / processes = {settings.batch_size // world_size}, because "
            f"the objective compares all samples of a step, found {micro}"
        )
    return micro


def deepspeed_settings(
    settings: TrainSettings, micro_batch: int, world_size: int, parameters: int, trained: int
) -> dict[str, Any]:
    """DeepSpeed's own configuration for a model with that many parameters, of which so many are trained."""
    # buffers of this size are allocated every step, whatever the model needs; ZeRO wants an even one
    bucket = min(_BUCKET, trained + trained % 2)
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
