"""What of each parameter a process holds: master weights and the optimiser's states, at every ZeRO stage and precision.

Here `engine` is DeepSpeed's.
"""

from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.train.engine.optimizer import OptimizerKind

MASTER = "fp32"
EMA = "ema"
"""Kind of the moving average of the weights."""


@dataclass(frozen=True)
class Fragment:
    """A process's stretch of one parameter or buffer.

    Attributes:
        name: of the parameter, as in the model's state.
        shape: of the whole parameter.
        start: numbers of the flattened parameter before this stretch.
        kinds: by kind (`fp32`, `ema`, the optimiser's states by their names) the stretch itself, flat, in the memory
            that training uses.
        alone: whether no other process holds it; else every process holds the same.
    """

    name: str
    shape: tuple[int, ...]
    start: int
    kinds: dict[str, Tensor]
    alone: bool

    @property
    def size(self) -> int:
        return self.kinds[MASTER].numel()


def trained_fragments(
    engine: Any, kind: OptimizerKind, averages: Sequence[Tensor] | None, changed: bool
) -> Iterator[Fragment]:
    """The stretches of what the optimiser steps that this process holds (see `Engine.fragments`)."""
    names = {parameter: name for name, parameter in engine.module.named_parameters()}
    # by id, as tensors are compared by their numbers
    beside = {} if averages is None else dict(zip(map(id, masters(engine)), averages, strict=True))
    zero = engine.zero_optimization_stage() > 0
    for one in held(engine, changed):
        if changed:
            kind.begin(base_optimizer(engine), one.master)
        if one.size:
            kinds = one.kinds(engine, kind.all_states)
            if averages is not None:
                kinds[EMA] = one.of(beside[id(one.master)])
            yield Fragment(names[one.parameter], shape_of(one.parameter), one.start, kinds, zero)


def frozen_fragments(module: nn.Module, but: Set[nn.Parameter]) -> Iterator[Fragment]:
    """The stretches of parameters that no optimiser owns, but some."""
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad and parameter not in but:
            start, numbers = own_numbers(parameter)
            yield Fragment(name, shape_of(parameter), start, {MASTER: numbers}, hasattr(parameter, "ds_tensor"))


def buffer_fragments(module: nn.Module) -> Iterator[Fragment]:
    """The persistent buffers, which every process has."""
    persistent = module.state_dict(keep_vars=True).keys()
    for name, buffer in module.named_buffers():
        if name in persistent:
            yield Fragment(name, tuple(buffer.shape), 0, {MASTER: buffer.detach().view(-1)}, False)


def base_optimizer(engine: Any) -> Any:
    """torch's optimiser, inside DeepSpeed's if there is one."""
    return getattr(engine.optimizer, "optimizer", engine.optimizer)


def masters(engine: Any) -> list[Tensor]:
    """What torch's optimiser steps: the parameters, their float32 copies, or this process's flat share of them."""
    optimizer, stage = engine.optimizer, engine.zero_optimization_stage()
    if stage == 0:
        return [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return list(optimizer.fp32_partitioned_groups_flat if stage == 3 else optimizer.single_partition_of_fp32_groups)


def refresh(engine: Any) -> None:
    """Make the parameters that the model computes with those of the master weights; every process must call it."""
    optimizer, stage = engine.optimizer, engine.zero_optimization_stage()
    if stage == 0:
        for one in _without_zero(optimizer):
            if one.master is not one.parameter:
                one.parameter.data.view(-1).copy_(one.of(one.master))
    elif stage == 3:
        for number in range(len(optimizer.fp16_groups)):
            with _in_memory(optimizer, number, changed=False):
                optimizer._reassign_or_swap_out_partitioned_parameters(number)
    else:
        optimizer.update_lp_params()


@dataclass(frozen=True)
class Held:
    """A stretch of a parameter, and where in one of the optimiser's tensors it lies."""

    parameter: nn.Parameter
    start: int
    master: Tensor
    begin: int
    size: int

    def of(self, whole: Tensor) -> Tensor:
        """The stretch of a tensor that is laid out like the master."""
        return whole.detach().view(-1).narrow(0, self.begin, self.size)

    def kinds(self, engine: Any, states: Sequence[str]) -> dict[str, Tensor]:
        state = base_optimizer(engine).state.get(self.master, {})
        wholes = {MASTER: self.master} | {name: state[name] for name in states if name in state}
        return {kind: self.of(whole) for kind, whole in wholes.items()}


def held(engine: Any, changed: bool) -> Iterator[Held]:
    """What this process holds of what is trained, in the order of the optimiser's tensors. States that ZeRO keeps in
    files are in memory only until the next one is asked for."""
    optimizer, stage = engine.optimizer, engine.zero_optimization_stage()
    if stage == 0:
        yield from _without_zero(optimizer)
    elif stage == 3:
        yield from _with_shared_parameters(optimizer, changed)
    else:
        yield from _with_shared_optimizer(optimizer)


def _without_zero(optimizer: Any) -> Iterator[Held]:
    """Every process holds all; in 16 bits DeepSpeed keeps masters beside the parameters."""
    stepped = [group["params"] for group in optimizer.param_groups]
    for group, copies in zip(getattr(optimizer, "fp16_groups", stepped), stepped, strict=True):
        for parameter, master in zip(group, copies, strict=True):
            yield Held(parameter, 0, master, 0, master.numel())


def _with_shared_optimizer(optimizer: Any) -> Iterator[Held]:
    """ZeRO 1 and 2: a process's share is a stretch of all parameters in a row."""
    for group, flat in zip(optimizer.bit16_groups, optimizer.single_partition_of_fp32_groups, strict=True):
        for parameter in group:
            mapping = parameter._hp_mapping
            if mapping is not None:  # else all of it is another process's
                there = mapping.hp_fragment_address
                yield Held(parameter, mapping.lp_fragment_address.start, flat, there.start, there.numel)


def _with_shared_parameters(optimizer: Any, changed: bool) -> Iterator[Held]:
    """ZeRO 3: a process's share is a stretch of every parameter; the last one's may end in padding."""
    flats = optimizer.fp32_partitioned_groups_flat
    for number, (group, flat) in enumerate(zip(optimizer.fp16_groups, flats, strict=True)):
        with _in_memory(optimizer, number, changed):
            for parameter in group:
                shared = _shared(parameter)
                _, begin, size = optimizer.grad_position[optimizer.get_param_id(parameter)]
                start = size * torch.distributed.get_rank(shared.ds_process_group)
                real = max(0, min(size, shared.ds_numel - start))
                yield Held(parameter, start, flat, begin, real)


@contextmanager
def _in_memory(optimizer: Any, number: int, changed: bool) -> Iterator[None]:
    """Have one of ZeRO 3's groups of states in memory, where they are kept in files (offload = nvme)."""
    swapped = optimizer._swappable_optimizer_subgroup(number)
    if swapped:
        optimizer._optimizer_states_and_gradient_swap_in(number)
    yield
    if swapped and changed:
        optimizer._optimizer_states_and_gradient_swap_out(number)
    elif swapped:
        optimizer._release_swap_buffers(number)


def own_numbers(parameter: nn.Parameter) -> tuple[int, Tensor]:
    """What of the numbers that a model computes with lies here, flat: all of a parameter or, where ZeRO 3 shares it
    out, a stretch of it; and how many numbers come before."""
    if not hasattr(parameter, "ds_tensor"):
        return 0, parameter.detach().view(-1)
    shared = _shared(parameter)
    part = shared.ds_tensor.data.view(-1)
    start = part.numel() * torch.distributed.get_rank(shared.ds_process_group)
    return start, part[: max(0, shared.ds_numel - start)]


def _shared(parameter: nn.Parameter) -> Any:
    """A parameter with what ZeRO 3 adds to it."""
    return parameter


def shape_of(parameter: nn.Parameter) -> tuple[int, ...]:
    return tuple(getattr(parameter, "ds_shape", parameter.shape))
