"""What `auto` in the settings of training becomes on given machines."""

from typing import TypeVar

import psutil
import torch

from cluster.process_group import ProcessGroup
from pipeline.errors import SettingsError
from pipeline.plan.machines import GIB, Machines
from pipeline.plan.memory import step_memory
from pipeline.plan.plan import CHECKPOINTING, engine_of, trace_model
from pipeline.train.engine.deepspeed_settings import micro_batch_of
from pipeline.train.run_settings import RunSettings

S = TypeVar("S", bound=RunSettings)
_SPARE = 0.1
"""Share of the memory that is kept free of what is planned."""
_FEW = 8
"""Fewer samples at once leave a GPU idle for longer than recomputing takes."""


def settle(settings: S, where: Machines) -> S:
    """The settings with `train.micro_batch` and `train.activation_checkpointing` as numbers and words: as little is
    recomputed as fits, at as many samples at once as fit then.

    Raises:
        SettingsError: batch, GPUs and the task's group don't divide, or nothing fits.
    """
    train = settings.train
    if "auto" not in (train.micro_batch, train.activation_checkpointing):
        return settings
    most, group = micro_batch_of(train, where.gpus, settings.task), settings.task.group
    sizes = [most]
    if train.micro_batch == "auto" and not settings.task.whole_batch:
        sizes = [size for size in range(most, 0, -1) if most % size == 0 and size % group == 0]
    modes = CHECKPOINTING if train.activation_checkpointing == "auto" else (train.recomputed,)
    traced = trace_model(settings, where.on_gpu, modes, where.gpus)
    fitting = []
    for mode in modes:
        for size in sizes:
            engine = engine_of(train, train.zero_stage, train.offload, traced.size, where, size)
            if step_memory(engine, traced.size, traced.passes[mode], size).total <= (1 - _SPARE) * where.usable:
                fitting.append((mode, size))
                break
    if not fitting:
        raise SettingsError(
            f"train.micro_batch: nothing fits into {where.usable / GIB:.1f} GiB of a process with a tenth to spare, "
            f"even {sizes[-1]} samples at once; `gavt plan` says what would"
        )
    enough = min(_FEW, most)
    mode, size = next((one for one in fitting if one[1] >= enough), max(fitting, key=lambda one: one[1]))
    changed = {"micro_batch": size, "activation_checkpointing": mode}
    return settings.model_copy(update={"train": train.model_copy(update=changed)})


def machines_of(group: ProcessGroup) -> Machines:
    """Those that a job runs on, as this process sees its own."""
    on_machine = -(-group.world_size // group.nodes)
    on_gpu = group.device.type == "cuda"
    memory = psutil.virtual_memory().total / on_machine
    if on_gpu:
        memory = torch.cuda.get_device_properties(group.device).total_memory
    return Machines(group.world_size, on_machine, memory, on_gpu=on_gpu)
