"""A small system with a teacher and with frozen parts, in an engine and in plain torch.

python taught_system.py OUT [IN…]    is one of several processes that train it at every ZeRO stage and precision, save
it below OUT, and go on from what other numbers of processes saved
"""

import sys
from pathlib import Path

import torch
from torch import nn

from cluster.process_end import end_process
from cluster.process_group import join_process_group
from pipeline.features.float32 import Float32Buffers
from pipeline.tasks.task import System, Task
from pipeline.train.checkpoints import find_checkpoint
from pipeline.train.checkpoints.restore import load_engine
from pipeline.train.checkpoints.saver import Saver
from pipeline.train.engine.buffers import average_buffers
from pipeline.train.engine.build import build_engine
from pipeline.train.engine.optimizer import parameter_groups
from small_engine import WAYS, settings_of

BATCH, RATE = 12, 0.125


class Centred(Float32Buffers):
    """Numbers less their running mean, which moves while it trains."""

    def __init__(self, width):
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("seen", torch.tensor(0))
        self.register_buffer("bounds", torch.tensor([-float("inf"), float("inf")]))

    def forward(self, numbers):
        centred = (numbers.float() - self.running_mean).clamp(*self.bounds).to(numbers.dtype)
        if self.training:
            with torch.no_grad():
                self.running_mean.lerp_(numbers.float().mean(0), 0.25)
                self.seen += 1
        return centred


class Trunk(nn.Sequential):
    """Sizes that nothing divides."""

    def __init__(self, width):
        super().__init__(nn.Linear(7, width), Centred(width), nn.ReLU(), nn.Linear(width, 5))


class Model(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.stem, self.trunk = nn.Linear(7, 7), Trunk(width)


class Imitate(Task):
    """The trunk learns to say what its own teacher says of half the numbers."""

    def __init__(self, width):
        super().__init__()
        self.teacher, self.head = Trunk(width), nn.Linear(5, 5)

    def forward(self, model, inputs, targets):
        numbers = model.stem(inputs["numbers"].to(model.stem.weight.dtype))
        with torch.no_grad():
            said = self.teacher(numbers / 2)
        loss = (self.head(model.trunk(numbers)) - said).float().square().mean() * targets["factor"]
        return loss, loss.detach()[None]

    def teachers(self, model):
        return [(self.teacher, model.trunk)]

    def after_step(self, model, step, follow):
        follow(self.teacher, model.trunk, RATE)


def make(seed=0, frozen=("stem",), width=13):
    """A system with random numbers in all places, in which the named parts of the model are frozen."""
    torch.manual_seed(seed)
    system = System(Model(width), Imitate(width), ("numbers",))
    for parameter in system.parameters():
        parameter.data.normal_(std=0.3)
    for name in frozen:
        system.model.get_submodule(name).requires_grad_(False)
    return system


def build(group, stage, precision, offload="none", **made):
    settings = settings_of(stage, precision, offload=offload).train
    engine = build_engine(make(**made), settings, BATCH // group.world_size, group)
    engine.train()
    return engine


def numbers_of(step):
    return torch.randn(BATCH, 7, generator=torch.Generator().manual_seed(step))


def train(engine, group, steps, spoilt=1.0):
    """Do these steps."""
    for step in steps:
        mine = numbers_of(step).chunk(group.world_size)[group.rank]
        loss, _ = engine.forward({"numbers": mine}, {"factor": spoilt})
        engine.backward(loss)
        engine.step()
        average_buffers(engine.module, group)
        if engine.was_applied:
            engine.module.task.after_step(engine.module.model, step, engine.follow)


def train_plainly(steps, **made):
    """The weights after these steps in plain torch."""
    system, settings = make(**made), settings_of().train
    teacher, student = system.task.teacher, system.model.trunk
    teacher.load_state_dict(student.state_dict())
    teacher.requires_grad_(False)
    optimizer = torch.optim.AdamW(parameter_groups(system, settings.weight_decay), lr=settings.learning_rate)
    for step in steps:
        system.train()
        teacher.eval()
        loss, _ = system({"numbers": numbers_of(step)}, {"factor": 1.0})
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for p in system.parameters() if p.requires_grad], settings.clip_norm)
        optimizer.step()
        follow_plainly(teacher.state_dict(), student.state_dict())
    return system.state_dict()


def follow_plainly(teacher, student):
    for name, ours in teacher.items():
        if not ours.is_floating_point():
            ours.copy_(student[name])
        elif ours.isfinite().all():
            ours.copy_((1 - RATE) * ours.double() + RATE * student[name].double())


def part(weights, prefix):
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


def check_follows(group, stage, precision, offload="none", **made):
    """It is the average of the student's masters, the model computes with it, and what is frozen stays."""
    engine = build(group, stage, precision, offload, **made)
    weights = engine.full_weights()
    plain = {name: value.clone() for name, value in part(weights, "task.teacher.").items()}
    assert same(plain, part(weights, "model.trunk."))
    stem = part(weights, "model.stem.")
    for step in range(4):
        train(engine, group, [step])
        weights = engine.full_weights()
        follow_plainly(plain, part(weights, "model.trunk."))
        for name, value in part(weights, "task.teacher.").items():
            assert torch.allclose(value.double(), plain[name].double(), rtol=0, atol=3e-7), (stage, precision, name)
    assert same(part(weights, "model.stem."), stem)
    assert not same(part(weights, "task.teacher."), part(weights, "model.trunk."))
    if precision == "fp32":
        for name, value in train_plainly(range(4), **made).items():
            assert torch.allclose(weights[name].double(), value.double(), rtol=1e-4, atol=2e-6), (stage, name)
    check_computes(engine, weights, **made)
    before = weights
    train(engine, group, [9], spoilt=float("nan"))  # the teacher stays where it is, too
    after = engine.full_weights()
    assert all(torch.equal(after[name], before[name]) for name in after if "running" not in name and "seen" not in name)


def check_computes(engine, weights, **made):
    """What the engine computes is what a system with these weights does."""
    plain = make(**made)
    plain.load_state_dict(weights)
    plain = plain.to(next(engine.module.parameters()).dtype).eval()
    engine.eval()
    with torch.no_grad():
        ours, theirs = (one({"numbers": numbers_of(77)}, {"factor": 1.0})[0] for one in (engine.forward, plain))
    engine.train()
    assert ours == theirs


def same(ours, theirs):
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def save(out, group):
    """Train it in every way, save it, and keep the weights there and two steps later."""
    for stage, precision in WAYS:
        engine, run = build(group, stage, precision, seed=stage), out / f"{stage}-{precision}"
        train(engine, group, range(3))
        saver = Saver(run / "checkpoints", group, settings_of(stage, precision), lambda: None)
        saver.save(engine, 3, {})
        saver.finish()
        weights = engine.full_weights()
        train(engine, group, range(3, 5))
        later = engine.full_weights()
        if group.is_main:
            torch.save((weights, later), run / "weights.pt")


def go_on(folder, group, alike):
    """Go on in every way from three of the checkpoints below a folder: the one that was saved in the same way and those
    of two other stages and precisions. Each is the same to the bit, and on as many processes so is what comes of it."""
    for at, (stage, precision) in enumerate(WAYS):
        for saved in (at, at - 2, at - 5):
            run = folder / "{}-{}".format(*WAYS[saved])
            engine = build(group, stage, precision, seed=9)
            load_engine(find_checkpoint(str(run)), engine)
            weights, later = torch.load(run / "weights.pt")
            assert same(engine.full_weights(), weights), (run, stage, precision)
            check_computes(engine, weights)
            if alike and saved == at:
                train(engine, group, range(3, 5))
                assert same(engine.full_weights(), later), (run, stage, precision)


def main():
    group = join_process_group()
    out, *others = map(Path, sys.argv[1:])
    try:
        for way in WAYS:
            check_follows(group, *way)
        save(out, group)
        go_on(out, group, alike=True)
        for folder in others:
            go_on(folder, group, alike=False)
    finally:
        group.leave()


if __name__ == "__main__":
    main()
    end_process(0)
