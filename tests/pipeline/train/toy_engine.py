"""A model of a hundred parameters in an engine, for what an engine promises at every ZeRO stage and precision.

python tests/pipeline/train/toy_engine.py    checks all of it on this process of several (RANK, WORLD_SIZE, …)
"""

from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from cluster.process_group import ProcessGroup, join_process_group
from pipeline.train.engine.build import build_engine
from pipeline.train.engine.ema import Ema
from pipeline.train.engine.engine import Engine
from pipeline.train.engine.fragments import base_optimizer
from pipeline.train.engine.muon import MOMENTUM, orthogonal
from pipeline.train.settings import TrainSettings

MICRO_BATCHES = 1024
EVERY = [
    (stage, precision, offload)
    for stage, precision, offload in product((0, 1, 2, 3), ("fp32", "bf16"), ("none", "cpu"))
    if stage or offload == "none"
]
IN_16_BITS = [kind for kind in EVERY if kind[1] == "bf16"]


class Toy(nn.Module):
    """Numbers of parameters that no number of processes divides; half a batch's gradient can be spoilt."""

    def __init__(self, width: int = 13) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(7, width), nn.LayerNorm(width), nn.Linear(width, 1)
        self.positions = nn.Parameter(torch.randn(1, 3, width))

    def forward(self, inputs: Tensor, factor: float) -> tuple[Tensor, Tensor]:
        hidden = self.norm(self.first(inputs.to(self.positions.dtype)))
        loss = (self.last(torch.relu(hidden)).mean() + 0.1 * self.positions.sum()) * factor
        return loss, loss.detach()[None]

    def teachers(self) -> list[tuple[nn.Module, nn.Module]]:
        return []


def build(
    group: ProcessGroup, stage: int, precision: str, offload: str = "none", width: int = 13, **more: Any
) -> Engine:
    torch.manual_seed(0)
    settings = {"batch_size": 2 * group.world_size, "micro_batch": 1, "learning_rate": 1e-2} | more
    settings |= {"zero_stage": stage, "precision": precision, "offload": offload}
    return build_engine(Toy(width), TrainSettings.model_validate(settings), 1, group)


def step(engine: Engine, group: ProcessGroup, number: int, spoilt: float = 1.0) -> bool:
    """A step of two micro-batches; the first of the last process's is spoilt."""
    for micro in range(2):
        generator = torch.Generator().manual_seed(100 * number + 10 * group.rank + micro)
        bad = micro == 0 and group.rank == group.world_size - 1
        engine.backward(engine.forward(torch.randn(4, 7, generator=generator), spoilt if bad else 1.0)[0])
        engine.step()
    return engine.was_applied


def state(engine: Engine) -> list[Tensor]:
    """All that a step may change: master weights, the model's own, moments and step counts."""
    own = [getattr(parameter, "ds_tensor", parameter) for parameter in engine.module.parameters()]
    moments = [torch.as_tensor(value) for kept in moments_of(engine) for value in kept.values()]
    return [tensor.detach().clone() for tensor in [*engine.masters(), *own, *moments]]


def moments_of(engine: Engine) -> list[dict[str, Any]]:
    """What torch's optimiser keeps of each tensor that it steps."""
    return list(base_optimizer(engine._deepspeed).state.values())


def same(first: list[Tensor], second: list[Tensor]) -> bool:
    """To the bit: the padding of what ZeRO-3 shares out is whatever lay in memory, which may be no number."""
    bits = [[tensor.reshape(-1).view(torch.uint8) for tensor in tensors] for tensors in (first, second)]
    return len(first) == len(second) and all(torch.equal(a, b) for a, b in zip(*bits, strict=True))


def check_bad_steps(group: ProcessGroup, *kind: Any) -> None:
    """A step whose gradient is not finite on one process changes nothing on any."""
    engine = build(group, *kind)
    assert step(engine, group, 0)
    before = state(engine)
    for spoilt in (float("nan"), float("inf")):
        assert not step(engine, group, 1, spoilt), kind
        assert same(state(engine), before), kind
    assert step(engine, group, 1)
    assert not same(state(engine), before), kind
    counts = {float(kept["step"]) for kept in moments_of(engine)}
    assert counts == {2.0}, kind


def check_average(group: ProcessGroup, *kind: Any) -> None:
    """The average is that of the whole weights; using it leaves the engine as it was, to the bit."""
    engine = build(group, *kind)
    ema = Ema(engine, 0.9)
    plain = {name: weight.double() for name, weight in engine.full_weights().items()}
    for number in range(4):
        assert step(engine, group, number)
        ema.update(engine)
        for name, weight in engine.full_weights().items():
            plain[name] = 0.9 * plain[name] + 0.1 * weight.double()
    inputs = torch.randn(4, 7, generator=torch.Generator().manual_seed(1))
    before, average = state(engine), [tensor.clone() for tensor in ema.average]
    with torch.no_grad():
        loss, _ = engine.forward(inputs, 1.0)
        with ema.in_place(engine):
            whole, (averaged, _) = engine.full_weights(), engine.forward(inputs, 1.0)
        after, _ = engine.forward(inputs, 1.0)
    for name, weight in whole.items():
        assert torch.allclose(weight.double(), plain[name], atol=5e-7, rtol=0), (kind, name)
    own = Toy()
    own.load_state_dict(whole)
    with torch.no_grad():
        expected, _ = own.to(averaged.dtype)(inputs, 1.0)
    assert averaged == expected != loss == after, kind
    assert same(state(engine), before), kind
    assert same(ema.average, average), kind
    assert step(engine, group, 9), kind


def check_gradients(group: ProcessGroup, *kind: Any) -> None:
    """Clipping bounds what a step of plain Adam without moments would see: the reported norm is the whole gradient's,
    and the first step is the same for a clipped gradient, as Adam divides by its size."""
    engine = build(group, *kind, clip_norm=0.5)
    assert step(engine, group, 0)
    moments = [kept["exp_avg"].double().square().sum() for kept in moments_of(engine)]
    assert (engine.grad_norm or 0.0) > 0.5, kind
    shared = kind[0] > 0
    total = group.sum([float(sum(moments))])[0] / (1 if shared else group.world_size)
    # after one step the first moment is a tenth of the gradient
    assert abs(total**0.5 * 10 - 0.5) < 5e-3, (kind, total**0.5 * 10)


class Sums(nn.Module):
    """A gradient that is the input, and a parameter that has none."""

    def __init__(self) -> None:
        super().__init__()
        self.summed, self.unused = nn.Parameter(torch.zeros(MICRO_BATCHES)), nn.Parameter(torch.zeros(3))

    def forward(self, inputs: Tensor, targets: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        return (self.summed * inputs.to(self.summed.dtype)).sum(), torch.zeros(0)

    def teachers(self) -> list[tuple[nn.Module, nn.Module]]:
        return []


def gradient_of(group: ProcessGroup, inputs: Tensor, kind: tuple[Any, ...]) -> Tensor:
    """The gradient with which Adam steps for inputs [M, N], a micro-batch each: ten times the first moment."""
    stage, precision, offload = kind
    settings = {"batch_size": len(inputs) * group.world_size, "micro_batch": 1, "clip_norm": 0.0}
    settings |= {"zero_stage": stage, "precision": precision, "offload": offload}
    engine = build_engine(Sums(), TrainSettings.model_validate(settings), 1, group)
    for row in inputs:
        engine.backward(engine.forward(row, {})[0])
        engine.step()
    assert engine.was_applied
    found = torch.zeros(MICRO_BATCHES)
    for fragment in engine.fragments():
        if fragment.name == "summed" and (fragment.alone or group.is_main):
            found[fragment.start : fragment.start + fragment.size] = fragment.kinds["exp_avg"].float() * 10
    group.add_up(found)
    return found


def check_sgd(group: ProcessGroup, *kind: Any) -> None:
    """Steps of SGD are torch's own, its momentum is held in shares as weights are, and nothing has moved before."""
    stage, precision, offload = kind
    settings = {"optimizer": "sgd", "learning_rate": 0.25, "weight_decay": 0.5, "batch_size": group.world_size}
    settings |= {"zero_stage": stage, "precision": precision, "offload": offload, "clip_norm": 0.0}
    torch.manual_seed(0)
    toy = Toy()
    begin = {name: weight.detach().clone() for name, weight in toy.named_parameters()}
    engine = build_engine(toy, TrainSettings.model_validate(settings), 1, group)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    for name, weight in engine.full_weights().items():
        assert torch.equal(weight, begin[name].to(dtype).float()), (kind, name)
    engine = build_engine(Sums(), TrainSettings.model_validate(settings), 1, group)
    own, found = nn.Parameter(torch.zeros(MICRO_BATCHES)), torch.zeros(MICRO_BATCHES)
    plain = torch.optim.SGD([own], 0.25, momentum=0.9)
    for row in torch.randn(3, MICRO_BATCHES, generator=torch.Generator().manual_seed(0)).to(dtype).float():
        engine.backward(engine.forward(row, {})[0])
        engine.step()
        own.grad = row
        plain.step()
    for one in engine.fragments():
        if one.name == "summed" and (one.alone or group.is_main):
            found[one.start : one.start + one.size] = one.kinds["momentum_buffer"]
    group.add_up(found)
    assert torch.allclose(engine.full_weights()["summed"], own.detach(), atol=1e-5), kind
    assert torch.allclose(found, plain.state[own]["momentum_buffer"], atol=1e-5), kind


class Layer(nn.Module):
    """A weight and a bias whose gradient is the input."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(shape)), nn.Parameter(torch.randn(shape[0]))

    def forward(self, inputs: Tensor) -> Tensor:
        flat = torch.cat([self.weight.flatten(), self.bias])
        return (flat * inputs.to(flat.dtype)).float().sum()


class Matrices(nn.Module):
    """Matrices and a kernel that Muon makes orthogonal, and one that it does not."""

    SIZES = (51 * 17, 19 * 145, 16 * 8, 16 * 41)

    def __init__(self) -> None:
        super().__init__()
        self.query_key_value, self.kernel = Layer(51, 16), Layer(19, 16, 3, 3)
        self.first, self.last = Layer(16, 7), Layer(16, 40)

    def forward(self, inputs: Tensor, targets: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        parts = zip(self.children(), torch.split(inputs, self.SIZES), strict=True)
        return torch.stack([layer(part) for layer, part in parts]).sum(), torch.zeros(0)

    def teachers(self) -> list[tuple[nn.Module, nn.Module]]:
        return []


def muon_steps(start: dict[str, Tensor], gradients: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """What Muon makes of whole parameters, and AdamW of what has no 16 channels, by rate 0.25 and decay 0.5."""
    found = {name: nn.Parameter(value.clone()) for name, value in start.items()}
    counts = {"query_key_value.weight": 3, "kernel.weight": 1, "last.weight": 1}
    momentum = {name: torch.zeros_like(found[name]) for name in counts}
    decaying, others = [found["first.weight"]], [one for name, one in found.items() if one.dim() == 1]
    adamw = torch.optim.AdamW([{"params": decaying}, {"params": others, "weight_decay": 0.0}], 0.25, weight_decay=0.5)
    for gradient in gradients:
        for name, parameter in found.items():
            parameter.grad = gradient[name]
        adamw.step()
        for name, count in counts.items():
            momentum[name] = 0.95 * momentum[name] + 0.05 * gradient[name]
            rows = (0.95 * momentum[name] + 0.05 * gradient[name]).flatten(1)
            parts = [orthogonal(part) * 0.2 * max(part.shape) ** 0.5 for part in rows.chunk(count)]
            with torch.no_grad():
                found[name].mul_(1 - 0.25 * 0.5).sub_(torch.cat(parts).view_as(found[name]), alpha=0.25)
    return {name: parameter.detach() for name, parameter in found.items()} | {
        f"{MOMENTUM} {name}": value for name, value in momentum.items()
    }


def build_matrices(group: ProcessGroup, stage: int, precision: str, offload: str = "none", **more: Any) -> Engine:
    """Muon's engine, by rate 0.25 and decay 0.5."""
    settings = {"optimizer": "muon", "learning_rate": 0.25, "weight_decay": 0.5, "batch_size": group.world_size}
    settings |= {"zero_stage": stage, "precision": precision, "offload": offload, "clip_norm": 0.0} | more
    torch.manual_seed(0)
    return build_engine(Matrices(), TrainSettings.model_validate(settings), 1, group)


def step_matrices(engine: Engine, seeds: list[int]) -> list[Tensor]:
    """Steps whose gradients, which are given back, are drawn by seeds; in 16 bits they have as many."""
    gradients = []
    for seed in seeds:
        row = torch.randn(sum(Matrices.SIZES), generator=torch.Generator().manual_seed(seed)).bfloat16().float()
        engine.backward(engine.forward(row, {})[0])
        engine.step()
        gradients.append(row)
    return gradients


def check_muon(group: ProcessGroup, *kind: Any) -> None:
    """Steps of Muon are those of whole matrices, whoever holds which part of them, and so is its momentum."""
    engine = build_matrices(group, *kind)
    start = {name: one.clone() for name, one in engine.full_weights().items()}
    sizes = [one.numel() for one in start.values()]
    gradients = []
    for row in step_matrices(engine, [0, 1, 2]):
        parts = zip(start.items(), torch.split(row, sizes), strict=True)
        gradients.append({name: part.view_as(one) for (name, one), part in parts})
    expected = muon_steps(start, gradients)
    weights = engine.full_weights()
    for name in start:
        assert torch.allclose(weights[name], expected[name], atol=2e-4), (kind, name)
    for one in engine.fragments():
        own = set(one.kinds) - {"fp32"}
        if (name := f"{MOMENTUM} {one.name}") not in expected:
            assert own == {"exp_avg", "exp_avg_sq"}, (kind, one.name, own)
            continue
        assert own == {MOMENTUM}, (kind, one.name, own)
        part = expected[name].flatten()[one.start : one.start + one.size]
        assert torch.allclose(one.kinds[MOMENTUM], part, atol=1e-5), (kind, one.name)


def check_sums(group: ProcessGroup, *kind: Any) -> None:
    """A thousand gradients are added up without a loss, and so are those of the processes: of 1 and 2⁻⁹ the sum has no
    16 bits."""
    inputs = 1 + torch.rand(MICRO_BATCHES, MICRO_BATCHES, generator=torch.Generator().manual_seed(0))
    inputs = inputs.bfloat16().float()
    whole = inputs.double().mean(0)
    found = gradient_of(group, inputs, kind)
    assert (found - whole).norm() < 1e-3 * whole.norm(), (kind, float((found - whole).norm() / whole.norm()))
    own = torch.full((2, MICRO_BATCHES), group.world_size * (1.0 if group.is_main else 2.0**-9))
    found = gradient_of(group, own, kind)
    assert torch.allclose(found, torch.tensor(1 + (group.world_size - 1) * 2.0**-9), rtol=1e-5, atol=0), (kind, found)


def main() -> None:
    group = join_process_group()
    for kind in IN_16_BITS:
        check_sums(group, *kind)
    for kind in EVERY:
        check_bad_steps(group, *kind)
        check_average(group, *kind)
        check_gradients(group, *kind)
        check_sgd(group, *kind)
        check_muon(group, *kind)
    group.leave()


if __name__ == "__main__":
    main()
