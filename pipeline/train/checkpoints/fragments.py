"""What of each parameter a process holds: master weights and moments, at every ZeRO stage and precision."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

MASTER = "fp32"
MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Fragment:
    """A process's stretch of one parameter or buffer.

    Attributes:
        name: of the parameter, as in the model's state.
        shape: of the whole parameter.
        start: numbers of the flattened parameter before this stretch.
        kinds: by kind (`fp32`, `exp_avg`, `exp_avg_sq`) the stretch itself, flat, in the memory that training uses.
    """

    name: str
    shape: tuple[int, ...]
    start: int
    kinds: dict[str, Tensor]

    @property
    def size(self) -> int:
        return self.kinds[MASTER].numel()


def fragments(engine: Any) -> Iterator[Fragment]:
    """The stretches of all parameters and persistent buffers that this process holds, in the memory that training uses:
    what is written to them is trained on after `refresh`."""
    optimizer, names = engine.optimizer, {parameter: name for name, parameter in engine.module.named_parameters()}
    found = {
        0: _without_zero,
        1: _with_shared_optimizer,
        2: _with_shared_optimizer,
        3: _with_shared_parameters,
    }[engine.zero_optimization_stage()](optimizer)
    owned = set()
    for parameter, start, kinds in found:
        owned.add(parameter)
        if kinds[MASTER].numel():
            yield Fragment(names[parameter], _shape(parameter), start, kinds)
    for parameter, name in names.items():
        if parameter not in owned and not parameter.requires_grad:
            yield _frozen(name, parameter)
    persistent = engine.module.state_dict(keep_vars=True).keys()
    for name, buffer in engine.module.named_buffers():
        if name in persistent:
            yield Fragment(name, tuple(buffer.shape), 0, {MASTER: buffer.detach().view(-1)})


def base_optimizer(engine: Any) -> Any:
    """torch's optimiser, inside DeepSpeed's if there is one."""
    return getattr(engine.optimizer, "optimizer", engine.optimizer)


def fill_states(engine: Any) -> None:
    """Make the moments that torch's optimiser otherwise makes at its first step."""
    optimizer, base = engine.optimizer, base_optimizer(engine)
    fused = base.defaults.get("fused") or base.defaults.get("capturable")
    for master in _masters(optimizer):
        state = base.state[master]
        if not state:
            state["step"] = torch.zeros((), device=master.device if fused else "cpu")
            state.update({kind: torch.zeros_like(master.detach()) for kind in MOMENTS})


def refresh(engine: Any) -> None:
    """Make the parameters that the model computes with those of the master weights; every process must call it."""
    optimizer, stage = engine.optimizer, engine.zero_optimization_stage()
    if stage == 0:
        for parameter, _, kinds in _without_zero(optimizer):
            if kinds[MASTER].data_ptr() != parameter.data_ptr():
                parameter.data.view(-1).copy_(kinds[MASTER])
    elif stage < 3:
        optimizer.update_lp_params()
    else:
        for parameter, _, kinds in _with_shared_parameters(optimizer):
            part = _shared(parameter).ds_tensor
            part.data.view(-1)[: kinds[MASTER].numel()].copy_(kinds[MASTER])


def _masters(optimizer: Any) -> Iterator[Tensor]:
    """What torch's optimiser steps: parameters, their float32 copies, or a process's flat share of them."""
    if hasattr(optimizer, "fp32_groups"):
        yield from (master for group in optimizer.fp32_groups for master in group)
    elif flats := _flats(optimizer):
        yield from flats
    else:
        yield from (parameter for group in optimizer.param_groups for parameter in group["params"])


def _flats(optimizer: Any) -> list[Tensor]:
    """A process's share under ZeRO, a flat tensor a group."""
    names = ("fp32_groups_flat_partition", "single_partition_of_fp32_groups", "fp32_partitioned_groups_flat")
    return next((getattr(optimizer, name) for name in names if hasattr(optimizer, name)), [])


_Held = tuple[nn.Parameter, int, dict[str, Tensor]]


def _without_zero(optimizer: Any) -> Iterator[_Held]:
    """Every process holds all; in 16 bits DeepSpeed keeps masters beside the parameters."""
    if hasattr(optimizer, "fp32_groups"):
        pairs = [
            pair
            for group, masters in zip(optimizer.fp16_groups, optimizer.fp32_groups, strict=True)
            for pair in zip(group, masters, strict=True)
        ]
    else:
        pairs = [(parameter, parameter) for group in optimizer.param_groups for parameter in group["params"]]
    for parameter, master in pairs:
        state = optimizer.state.get(master, {})
        moments = {kind: state[kind].view(-1) for kind in MOMENTS if kind in state}
        yield parameter, 0, {MASTER: master.detach().view(-1)} | moments


def _with_shared_optimizer(optimizer: Any) -> Iterator[_Held]:
    """ZeRO 1 and 2: a process's share is a stretch of all parameters in a row."""
    groups = getattr(optimizer, "bf16_groups", None) or optimizer.bit16_groups
    for group, flat in zip(groups, _flats(optimizer), strict=True):
        for parameter in group:
            mapping = parameter._hp_mapping
            if mapping is None:
                continue  # all of it is another process's
            there = mapping.hp_fragment_address
            kinds = _kinds(optimizer, flat, there.start, there.numel)
            yield parameter, mapping.lp_fragment_address.start, kinds


def _with_shared_parameters(optimizer: Any) -> Iterator[_Held]:
    """ZeRO 3: a process's share is a stretch of every parameter; the last one's may end in padding."""
    for group, flat in zip(optimizer.fp16_groups, _flats(optimizer), strict=True):
        for parameter in group:
            _, begin, size = optimizer.grad_position[optimizer.get_param_id(parameter)]
            shared = _shared(parameter)
            start = size * torch.distributed.get_rank(shared.ds_process_group)
            real = max(0, min(size, shared.ds_numel - start))
            yield parameter, start, _kinds(optimizer, flat, begin, real)


def _kinds(optimizer: Any, flat: Tensor, begin: int, size: int) -> dict[str, Tensor]:
    state = optimizer.optimizer.state[flat]
    wholes = {MASTER: flat.detach()} | {kind: state[kind] for kind in MOMENTS if kind in state}
    return {kind: whole.narrow(0, begin, size) for kind, whole in wholes.items()}


def _frozen(name: str, parameter: nn.Parameter) -> Fragment:
    """A parameter that no optimiser owns; ZeRO 3 shares it out like the others."""
    if not hasattr(parameter, "ds_tensor"):
        return Fragment(name, _shape(parameter), 0, {MASTER: parameter.detach().view(-1)})
    shared = _shared(parameter)
    part = shared.ds_tensor.data.view(-1)
    start = part.numel() * torch.distributed.get_rank(shared.ds_process_group)
    return Fragment(name, _shape(parameter), start, {MASTER: part[: max(0, shared.ds_numel - start)]})


def _shared(parameter: nn.Parameter) -> Any:
    """A parameter with what ZeRO 3 adds to it."""
    return parameter


def _shape(parameter: nn.Parameter) -> tuple[int, ...]:
    return tuple(getattr(parameter, "ds_shape", parameter.shape))
