"""A small model in DeepSpeed's engine, and all that it holds, told by DeepSpeed itself."""

import itertools

import torch
from torch import nn

from pipeline.experiment import ExperimentSettings
from pipeline.train.engine.build import build_engine

WAYS = list(itertools.product((0, 1, 2, 3), ("fp32", "bf16")))
"""ZeRO stage and precision."""
BATCH = 12


class Small(nn.Module):
    """Matrices, norms and buffers, of sizes that nothing divides."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.norm, self.last = nn.Linear(7, 13), nn.LayerNorm(13), nn.Linear(13, 3)
        self.frozen = nn.Parameter(torch.arange(5.0) / 3, requires_grad=False)
        self.register_buffer("running_mean", torch.zeros(7))
        self.register_buffer("seen", torch.tensor(0))
        self.register_buffer("made_anew", torch.zeros(1), persistent=False)

    def teachers(self):
        return []

    def forward(self, numbers, targets):
        with torch.no_grad():
            self.running_mean.lerp_(numbers.to(self.running_mean.dtype).mean(0), 0.1)
            self.seen += len(numbers)
        return self.last(self.norm(self.first(numbers)).relu()).float().square().mean(), torch.zeros(0)


def settings_of(stage=1, precision="fp32", **train) -> ExperimentSettings:
    chosen = {"batch_size": BATCH, "zero_stage": stage, "precision": precision, "learning_rate": 0.01} | train
    return ExperimentSettings.model_validate({"task": {"group": 2}, "train": chosen})


def build(group, stage=1, precision="fp32", seed=0, steps=0, **more):
    engine = build_engine(Small(seed), settings_of(stage, precision, **more).train, BATCH // group.world_size, group)
    engine.train()
    train(engine, steps, group.world_size)
    return engine


def train(engine, steps, world_size=1):
    dtype = next(engine.module.parameters()).dtype
    for step in range(steps):
        numbers = torch.randn(BATCH // world_size, 7, generator=torch.Generator().manual_seed(step)).to(dtype)
        engine.backward(engine.forward(numbers, {})[0])
        engine.step()


def everything(engine):
    """Masters, moments and buffers, whole, by kind and name, as DeepSpeed gathers them; every process must call it."""
    from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

    engine, found = engine._deepspeed, {}
    if engine.zero_optimization_stage() in (1, 2):
        engine.optimizer._hp_optimizer_states_linked = False  # it looks for moments once, before there are any
        engine.optimizer._lazy_init_hp_params_optimizer_state()
    groups = [getattr(engine.optimizer, name, []) for name in ("fp16_groups", "fp32_groups")]
    copies = dict(zip(*(itertools.chain(*group) for group in groups), strict=True)) if groups[1] else {}
    for name, parameter in engine.module.named_parameters():
        if not parameter.requires_grad:
            continue
        if engine.zero_optimization_stage() == 0:
            master = copies.get(parameter, parameter)
            state = engine.optimizer.state[master]
            values = [master, state["exp_avg"], state["exp_avg_sq"]]
        else:
            values = [safe_get_full_fp32_param(parameter)]
            values += [safe_get_full_optimizer_state(parameter, kind) for kind in ("exp_avg", "exp_avg_sq")]
        for kind, value in zip(("fp32", "exp_avg", "exp_avg_sq"), values, strict=True):
            found[f"{kind} {name}"] = value.detach().flatten().clone()
    for name in ("running_mean", "seen"):
        found[f"buffer {name}"] = getattr(engine.module, name).clone()
    return found


def assert_equal(ours, theirs):
    assert ours.keys() == theirs.keys()
    for key in theirs:
        assert torch.equal(ours[key].float(), theirs[key].float()), key
