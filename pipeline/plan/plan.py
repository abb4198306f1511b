"""The plan of a training run."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch

from pipeline.models.contract import TokenGrid
from pipeline.models.recompute import Mode, set_checkpointing
from pipeline.plan.activations import PassMemory, trace_pass
from pipeline.plan.data import DataNeed, data_need
from pipeline.plan.feeding import Feeding, bytes_ahead, plan_feeding
from pipeline.plan.known_results import KnownResults
from pipeline.plan.machines import Machines, pace
from pipeline.plan.memory import EngineOptions, Memory, ModelSize, Offload, step_memory
from pipeline.plan.without_compiler import without_compiler
from pipeline.stream.arrays import Arrays
from pipeline.stream.fields.registry import fields_of
from pipeline.tasks.gathered import planned_for
from pipeline.tasks.task import System
from pipeline.train.engine.accumulation import accumulates, sum_settings
from pipeline.train.engine.deepspeed_settings import deepspeed_settings, micro_batch_of
from pipeline.train.engine.optimizer import KINDS, hidden_matrices
from pipeline.train.flops import SampleFlops, training_flops
from pipeline.train.run_settings import RunSettings
from pipeline.train.settings import TrainSettings
from pipeline.train.system import system_without_memory

CHECKPOINTING: tuple[Mode, ...] = ("none", 2, "full")
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Way:
    """One combination of ZeRO stage, offload and activation checkpointing.

    Attributes:
        memory: with `TrainingPlan.micro_batch` samples a GPU.
        per_sample: bytes that one sample more would take.
        fits: whether that is less than a GPU has.
        largest: most samples a GPU at once, a multiple of task.group; 0 where none fits.
    """

    stage: int
    offload: Offload
    checkpointing: Mode
    memory: Memory
    per_sample: float
    fits: bool
    largest: int


@dataclass(frozen=True)
class TrainingPlan:
    """What a training run needs.

    Attributes:
        parameters: numbers by part.
        micro_batch: samples a GPU at once that the settings ask for.
        group: that micro-batches are multiples of.
        ways: all combinations, that of the settings among them.
        chosen: the settings' own.
        samples_per_s: of the whole job; None where it isn't known.
        hours: for all steps; likewise.
        checkpoint_bytes: of one checkpoint.
        copies_bytes: of host memory for what a save copies, beside which training goes on; of the machine of the main
            process, which has most.
        compiles: whether the settings say so; ZeRO-3 can't.
        grids: of each stream, how its tokens lie and what they see of an input.
    """

    machines: Machines
    parameters: dict[str, int]
    flops: SampleFlops
    micro_batch: int
    group: int
    steps: int
    batch_size: int
    ways: tuple[Way, ...]
    chosen: Way
    samples_per_s: float | None
    hours: float | None
    data: DataNeed
    feeding: Feeding
    checkpoint_bytes: float
    copies_bytes: float
    compiles: bool
    grids: Mapping[str, TokenGrid]


@dataclass(frozen=True)
class Traced:
    """What of a model doesn't hang on the machines; seconds for a large one.

    Attributes:
        parameters: numbers by part.
        passes: of each way of activation checkpointing.
        grids: as of `TrainingPlan`.
    """

    parameters: dict[str, int]
    size: ModelSize
    passes: dict[Mode, PassMemory]
    flops: SampleFlops
    grids: Mapping[str, TokenGrid]


def trace_model(settings: RunSettings, on_gpu: bool, modes: Iterable[Mode] | None = None, processes: int = 1) -> Traced:
    """Go through a model's step on the meta device: nothing of its size is allocated.

    Args:
        modes: of activation checkpointing; the usual ones and that of the settings unless given.
        processes: of whose samples an objective may compare all.
    """
    own = settings.train.recomputed
    system = system_without_memory(settings).train()
    size = _size_of(system, settings)
    passes: dict[Mode, PassMemory] = {}
    with without_compiler(), KnownResults():
        for mode in sorted({*CHECKPOINTING, own}, key=_share_recomputed) if modes is None else modes:
            set_checkpointing(system, mode)
            with planned_for(processes):
                passes[mode] = trace_pass(settings, system, _DTYPES[settings.train.precision], on_gpu)
        flops = training_flops(settings)
    return Traced(parameters_by_part(system), size, passes, flops, system.model.grids)


def _size_of(system: System, settings: RunSettings) -> ModelSize:
    pairs = [pair for both in system.teachers() for pair in zip(*(one.parameters() for one in both), strict=True)]
    return ModelSize(
        tuple(parameter.numel() for parameter in system.parameters() if parameter.requires_grad),
        sum(buffer.numel() * buffer.element_size() for buffer in system.buffers()),
        tuple(parameter.numel() for parameter in system.parameters() if not parameter.requires_grad),
        sum(teacher.numel() for teacher, student in pairs if student.requires_grad),
        sum(parameter.numel() for parameter in hidden_matrices(system)),
        Arrays.bytes_of(fields_of(settings.features, settings.fields, augment=True), 1),
    )


def make_plan(
    settings: RunSettings,
    where: Machines,
    samples_per_shard: int | None = None,
    traced: Traced | None = None,
    core_samples_per_s: float | None = None,
) -> TrainingPlan:
    """Plan training on machines.

    Args:
        samples_per_shard: where data.train isn't there yet.
        traced: what `trace_model` gives, if it is at hand.
        core_samples_per_s: that a core reads and decodes; measured, unless given, where data.train lies here.

    Raises:
        SettingsError: batch, GPUs and pairing group don't divide, or other settings don't go together.
        ShardSetError: data.train is damaged.
    """
    train = settings.train
    micro_batch = micro_batch_of(train, where.gpus, settings.task)
    traced = traced or trace_model(settings, where.on_gpu, processes=where.gpus)
    ways = tuple(_ways(settings, where, traced, micro_batch))
    chosen = _own(settings, ways)
    samples_per_s = pace(where, traced.flops.training, train.precision)
    each = None if samples_per_s is None else samples_per_s / where.gpus
    return TrainingPlan(
        machines=where,
        parameters=traced.parameters,
        flops=traced.flops,
        micro_batch=micro_batch,
        group=settings.task.group,
        steps=train.steps,
        batch_size=train.batch_size,
        ways=ways,
        chosen=chosen,
        samples_per_s=samples_per_s,
        hours=None if samples_per_s is None else train.steps * train.batch_size / samples_per_s / 3600,
        data=data_need(settings, samples_per_s, samples_per_shard),
        feeding=plan_feeding(settings, traced.size.input_bytes, micro_batch, each, core_samples_per_s),
        checkpoint_bytes=_checkpoint_bytes(traced.size, train),
        copies_bytes=_copied_bytes(traced.size, train, where),
        compiles=train.compile is True,
        grids=traced.grids,
    )


def _states(size: ModelSize, train: TrainSettings) -> float:
    """Numbers that the optimiser keeps beside each one that is trained, in the mean."""
    kind = KINDS[train.optimizer]
    alike = size.matrices if kind.matrix_states else 0
    if not size.trained:
        return 0.0
    return (len(kind.matrix_states) * alike + len(kind.states) * (size.trained - alike)) / size.trained


def _saved_bytes(size: ModelSize, train: TrainSettings) -> float:
    """Bytes of a checkpoint of what is trained: float32 masters, the optimiser's states, average."""
    return 4 * (1 + _states(size, train) + (train.ema_decay is not None)) * size.trained


def _checkpoint_bytes(size: ModelSize, train: TrainSettings) -> float:
    return _saved_bytes(size, train) + 4 * sum(size.frozen)


def _copied_bytes(size: ModelSize, train: TrainSettings, where: Machines) -> float:
    """Bytes of host memory that a save takes on the main process' machine."""
    share = min(where.gpus_per_node, where.gpus) / where.gpus if train.zero_stage else 1
    # what is frozen has float32 masters, shared out as those of what is trained are, only where these are no parameters
    whole = train.zero_stage < 3 and train.precision == "fp32"
    return _saved_bytes(size, train) * share + 4 * sum(size.frozen) * (1 if whole else share)


def parameters_by_part(system: System) -> dict[str, int]:
    """Numbers of parameters of the model's parts, of what it has besides (positions, class token) as `tokens`, of the
    objective's heads, and of its teachers."""
    parts = {name: sum(p.numel() for p in part.parameters()) for name, part in system.model.parts().items()}
    parts["tokens"] = sum(p.numel() for p in system.model.parameters()) - sum(parts.values())
    parts["teacher"] = sum(p.numel() for teacher, _ in system.teachers() for p in teacher.parameters())
    parts["head"] = sum(p.numel() for p in system.task.parameters()) - parts["teacher"]
    return {name: count for name, count in parts.items() if count}


def own_way(settings: RunSettings, where: Machines) -> Way:
    """The settings' own combination, without the others.

    Raises:
        SettingsError: as of `make_plan`.
    """
    micro_batch = micro_batch_of(settings.train, where.gpus, settings.task)
    traced = trace_model(settings, where.on_gpu, [settings.train.recomputed], where.gpus)
    return _own(settings, _ways(settings, where, traced, micro_batch))


def _own(settings: RunSettings, ways: Iterable[Way]) -> Way:
    train = settings.train
    own = (train.zero_stage, train.offload, train.recomputed)
    return next(way for way in ways if (way.stage, way.offload, way.checkpointing) == own)


def _share_recomputed(mode: Mode) -> float:
    """By which modes are put in order: the share of blocks that are recomputed."""
    return 0.0 if mode == "none" else 1.0 if mode == "full" else 1 / mode


def _ways(settings: RunSettings, where: Machines, traced: Traced, micro_batch: int) -> Iterator[Way]:
    for mode, trace in traced.passes.items():
        for stage in (0, 1, 2, 3):
            for offload in _offloads(settings.train, stage):
                engine = engine_of(settings.train, stage, offload, traced.size, where, micro_batch)
                yield _way(engine, mode, traced.size, trace, micro_batch, settings.task.group, where.usable)


def _offloads(train: TrainSettings, stage: int) -> tuple[Offload, ...]:
    """What can be moved: nothing without ZeRO, and into files with stage 3 only, where no average is kept."""
    if stage == 0:
        return ("none",)
    return ("none", "cpu", "nvme") if stage == 3 and train.ema_decay is None else ("none", "cpu")


def engine_of(
    train: TrainSettings, stage: int, offload: Offload, size: ModelSize, where: Machines, micro_batch: int
) -> EngineOptions:
    """DeepSpeed as training would set it up."""
    changed = train.model_copy(update={"zero_stage": stage, "offload": offload})
    sums = sum_settings(changed, micro_batch, where.gpus)
    return EngineOptions(
        stage=stage,
        offload=offload,
        number_bytes=4 if train.precision == "fp32" else 2,
        world_size=where.gpus,
        accumulates=accumulates(train, micro_batch, where.gpus),
        reduce_bytes=4 if train.precision == "fp32" or "communication_data_type" in sums else 2,
        states=_states(size, train),
        averages=train.ema_decay is not None,
        zero=deepspeed_settings(changed, micro_batch, where.gpus, size.total, size.trained)["zero_optimization"],
        on_gpu=where.on_gpu,
    )


def _way(
    engine: EngineOptions, mode: Mode, size: ModelSize, trace: PassMemory, micro_batch: int, group: int, usable: float
) -> Way:
    memory = step_memory(engine, size, trace, micro_batch)
    largest = _largest(lambda samples: step_memory(engine, size, trace, samples).total <= usable, group)
    return Way(
        engine.stage,
        engine.offload,
        mode,
        memory,
        trace.per_sample(micro_batch) + (bytes_ahead(size.input_bytes, 1) if engine.on_gpu else 0),
        memory.total <= usable,
        largest,
    )


def _largest(fits: Callable[[int], bool], group: int) -> int:
    """The most multiples of `group` that fit: more samples never take less memory."""
    if not fits(group):
        return 0
    low, high = 1, 2
    while fits(high * group):
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle * group) else (low, middle)
    return low * group
