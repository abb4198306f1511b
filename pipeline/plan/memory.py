"""What DeepSpeed's engine holds on a GPU and in host memory, by ZeRO stage and offload.

Read from DeepSpeed 0.19 (runtime/engine.py, zero/stage_1_and_2.py, zero/stage3.py, bf16 and fp16 optimisers) and
checked against measured memory by `tests/benchmarks/plan_memory.py`.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

from pipeline.plan.activations import PassMemory
from pipeline.plan.feeding import bytes_ahead

Offload = Literal["none", "cpu", "nvme"]
_FLAT_BUCKET = 500_000_000
"""Numbers that DeepSpeed reduces at once without ZeRO."""
_LIVE_PARAMETERS = 1_000_000_000
"""Numbers of gathered parameters that ZeRO-3 keeps by default (stage3_max_live_parameters)."""
_PREFETCH = 50_000_000
"""Numbers that it gathers at once by default (stage3_prefetch_bucket_size)."""


@dataclass(frozen=True)
class ModelSize:
    """A model's numbers.

    Attributes:
        parameters: numbers of each parameter that is trained.
        buffer_bytes: of constants and running averages.
        frozen: numbers of each parameter that isn't: what `train.freeze` names, and teachers.
        following: numbers of teachers whose student is trained: in 16 bit they have a master copy in fp32.
        matrices: numbers of what is trained that Muon would make orthogonal.
        input_bytes: of a sample's inputs as they are decoded.
    """

    parameters: tuple[int, ...]
    buffer_bytes: int
    frozen: tuple[int, ...] = ()
    following: int = 0
    matrices: int = 0
    input_bytes: int = 0

    @property
    def trained(self) -> int:
        """Numbers of all parameters that have a gradient and optimiser states."""
        return sum(self.parameters)

    @property
    def total(self) -> int:
        """Numbers of all parameters."""
        return self.trained + sum(self.frozen)


@dataclass(frozen=True)
class EngineOptions:
    """How DeepSpeed is set up.

    Attributes:
        number_bytes: of a parameter: 4 in fp32, 2 in bf16 and fp16.
        accumulates: whether gradients are summed over several micro-batches; in fp32 then, whatever the precision.
        reduce_bytes: of a number of the gradients that processes add up.
        states: numbers that the optimiser keeps beside each parameter's, in the mean.
        averages: whether an average of the weights is kept (train.ema_decay).
        zero: DeepSpeed's section `zero_optimization`.
        on_gpu: reduces beside the backward pass, with two buckets.
    """

    stage: int
    offload: Offload
    number_bytes: int
    world_size: int
    accumulates: bool
    reduce_bytes: int
    states: float
    averages: bool
    zero: dict[str, Any]
    on_gpu: bool

    @property
    def sum_bytes(self) -> int:
        """Of a number of a step's gradient."""
        return 4 if self.accumulates else self.number_bytes


@dataclass(frozen=True)
class Memory:
    """Bytes at the fullest moment of a step, on one GPU.

    Attributes:
        parameters: with buffers; under ZeRO-3 what is held and what is gathered.
        gradients: of parameters.
        optimizer: master copy in fp32, the optimiser's states, and the average of the weights.
        work: buckets and copies for reducing and updating.
        activations: of the micro-batch, with all else that comes and goes, and of the batches behind it that are there
            already.
        host: in the machine's memory, for this GPU.
        disk: in files, for this GPU.
    """

    parameters: float
    gradients: float
    optimizer: float
    work: float
    activations: float
    host: float = 0.0
    disk: float = 0.0

    @property
    def total(self) -> float:
        """On the GPU."""
        return self.parameters + self.gradients + self.optimizer + self.work + self.activations


def step_memory(engine: EngineOptions, model: ModelSize, trace: PassMemory, micro_batch: int) -> Memory:
    """Memory of a training step with so many samples a GPU at once."""
    phases = {0: _without_zero, 1: _zero_1_and_2, 2: _zero_1_and_2, 3: _zero_3}[engine.stage]
    fullest = max(phases(engine, model, trace, micro_batch), key=lambda memory: memory.total)
    # checkpoints hold what is frozen in fp32
    kept = 0 if engine.number_bytes == 4 else 4 * (sum(model.frozen) - model.following)
    # batches that lie on the GPU before they are asked for
    ahead = bytes_ahead(model.input_bytes, micro_batch) if engine.on_gpu else 0
    activations = fullest.activations + ahead
    return replace(
        fullest, activations=activations, host=fullest.host + kept / (engine.world_size if engine.stage else 1)
    )


def _without_zero(engine: EngineOptions, model: ModelSize, trace: PassMemory, samples: int) -> list[Memory]:
    """Everything on every GPU; gradients pile up, then are reduced in flat copies."""
    count, size = model.trained, engine.number_bytes
    parameters = model.total * size + model.buffer_bytes
    optimizer = _states(engine) * count + _teachers(engine, model)
    gradients = count * engine.sum_bytes
    flat = engine.sum_bytes + (engine.reduce_bytes if engine.reduce_bytes > engine.sum_bytes else 0)
    # their norm is taken of copies in the model's precision, where they are not what the optimiser steps with
    copies = 0 if size == 4 else size if engine.accumulates else 4
    live, held, _ = trace.at_peak(samples, keeps_gradients=not engine.accumulates)
    return [
        Memory(parameters, gradients if engine.accumulates else held, optimizer, 0, live),
        Memory(parameters, gradients, optimizer, min(count, _FLAT_BUCKET) * flat, 0),
        Memory(parameters, gradients, optimizer, copies * count, 0),
    ]


def _zero_1_and_2(engine: EngineOptions, model: ModelSize, trace: PassMemory, samples: int) -> list[Memory]:
    """Optimiser states are shared out, and the flat master copy of the parameters too. Gradients go
    through a bucket into a flat part of their own; at stage 1 without overlap they pile up first."""
    if engine.sum_bytes > engine.number_bytes:
        return _zero_1_and_2_summing(engine, model, trace, samples)
    count, size, part = model.trained, engine.number_bytes, model.trained / engine.world_size
    parameters = model.total * size + model.buffer_bytes
    teachers = _teachers(engine, model)
    bucket = engine.zero["reduce_bucket_size"] * size * (2 if engine.on_gpu else 1)
    piles_up = engine.stage == 1 and not engine.on_gpu
    own = part * size
    before = own if engine.accumulates else 0.0
    live, held, work = trace.at_peak(samples, piles_up, bucket)
    if engine.offload == "cpu":
        # two buffers of the largest gradient, the states, fp32 gradients and a copy to send back
        largest = max(model.parameters) * size
        host = part * (_with_master(engine) + 4 + size) + largest + (own if engine.accumulates else 0.0) + teachers
        return [
            Memory(parameters, held, 0, work + largest, live, host),
            Memory(parameters, own, 0, bucket + largest, 0, host),
        ]
    optimizer = _states(engine) * part + teachers
    one = engine.zero["reduce_bucket_size"] * size
    # what is reduced is flattened again, and widened
    copy = one if engine.world_size > 1 else 0.0
    copy += engine.zero["reduce_bucket_size"] * 4 if engine.reduce_bytes > size else 0.0
    kept = own if count > engine.zero["reduce_bucket_size"] else 0.0  # parts of earlier buckets
    return [
        Memory(parameters, held + before, optimizer, work, live),
        Memory(parameters, kept + before, optimizer, bucket + copy, 0),
        Memory(parameters, own + before, optimizer, bucket, 0),
        Memory(parameters, own, optimizer, own + (0 if size == 4 else 4 * part), 0),
    ]


def _zero_1_and_2_summing(engine: EngineOptions, model: ModelSize, trace: PassMemory, samples: int) -> list[Memory]:
    """The same where gradients in 16 bit are summed in fp32: at stage 1 whole on every process until the last
    micro-batch, then through a bucket in fp32; at stage 2 in the process's own part from the first."""
    size, part = engine.number_bytes, model.trained / engine.world_size
    parameters = model.total * size + model.buffer_bytes
    whole = 4 * model.trained if engine.stage == 1 else 0.0
    own = 4 * part
    staged = engine.zero["reduce_bucket_size"] * (4 if engine.stage == 1 else size)
    bucket = staged * (2 if engine.on_gpu else 1)
    # what is reduced is flattened again, and at stage 2 widened for other processes
    copy = staged
    copy += engine.zero["reduce_bucket_size"] * 4 if engine.stage == 2 and engine.world_size > 1 else 0.0
    live, _, work = trace.at_peak(samples, False, bucket)
    teachers = _teachers(engine, model)
    optimizer, host, largest = _states(engine) * part + teachers, 0.0, 0.0
    if engine.offload == "cpu":
        largest = max(model.parameters) * size
        optimizer, host = 0.0, part * (_with_master(engine) + 4 + size) + largest + teachers
    return [
        Memory(parameters, whole or own, optimizer, work + largest, live, host),
        Memory(parameters, own + max(0.0, whole - staged), optimizer, bucket + copy + largest, 0, host),
    ]


def _zero_3(engine: EngineOptions, model: ModelSize, trace: PassMemory, samples: int) -> list[Memory]:
    """Parameters are shared out too, and gathered while they are needed; small ones stay. What is gathered comes in
    flat pieces and is copied from there; a process alone has all, and gathers nothing."""
    count, size, part = model.total, engine.number_bytes, model.trained / engine.world_size
    least = engine.zero.get("stage3_param_persistence_threshold", 100_000)
    small = sum(numbers for numbers in (*model.parameters, *model.frozen) if numbers <= least)
    alone = engine.world_size == 1 and engine.offload == "none"
    most_live = engine.zero.get("stage3_max_live_parameters", _LIVE_PARAMETERS)
    gathered = 0.0 if alone else min(count, small + most_live) * float(size)
    arriving = 0.0 if alone else min(count, engine.zero.get("stage3_prefetch_bucket_size", _PREFETCH)) * float(size)
    bucket = engine.zero["reduce_bucket_size"] * size
    own, summed = count / engine.world_size * size, part * engine.sum_bytes
    teachers = _teachers(engine, model)
    sent = engine.reduce_bytes if engine.reduce_bytes > size else 0
    # a bucket is put in order of processes, and reduced into another; each step is a copy where it is widened
    steps = size + (2 * sent if sent else max(size, engine.sum_bytes))
    reducing = bucket + engine.zero["reduce_bucket_size"] * steps
    live, _, _ = trace.at_peak(samples, keeps_gradients=False)
    if engine.offload != "none":
        states = part * (_with_master(engine) + 4) + teachers
        on_disk = engine.offload == "nvme"
        host = own + summed + (0.0 if on_disk else states)
        disk = states if on_disk else 0.0  # parameters stay in host memory
        return [
            Memory(gathered + model.buffer_bytes, 0, 0, bucket + arriving, live, host, disk),
            Memory(gathered + model.buffer_bytes, 0, 0, reducing, 0, host, disk),
        ]
    optimizer = _states(engine) * part + teachers
    widened = 4 * part if engine.sum_bytes < 4 else 0.0
    return [
        Memory(own + gathered + model.buffer_bytes, summed, optimizer, bucket + arriving, live),
        Memory(own + small * size + model.buffer_bytes, summed, optimizer, reducing, 0),
        Memory(own + small * size + model.buffer_bytes, summed, optimizer, bucket + summed + widened, 0),
    ]


def _states(engine: EngineOptions) -> float:
    """Bytes beside a parameter where nothing is offloaded: in fp32 the master copy is the parameter itself."""
    return _with_master(engine) - (4 if engine.number_bytes == 4 else 0)


def _with_master(engine: EngineOptions) -> float:
    """Bytes of a number of the master copy, of the optimiser's states and of the average of the weights."""
    return 4 * (1 + engine.states + engine.averages)


def _teachers(engine: EngineOptions, model: ModelSize) -> float:
    """Bytes of teachers' master copies, which lie where those of their students do."""
    if engine.number_bytes == 4:
        return 0.0
    return 4 * model.following / (engine.world_size if engine.stage else 1)
