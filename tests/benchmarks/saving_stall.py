"""How long training stands still for a checkpoint that is written beside it, against one that it waits for."""

import tempfile
import time
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

from cluster.process_group import ProcessGroup, join_process_group
from pipeline.experiment import ExperimentSettings
from pipeline.train.checkpoints.saver import Saver
from pipeline.train.engine.build import build_engine
from pipeline.train.engine.engine import Engine
from result import Result

WIDTH = 1024
LAYERS = 64
"""Matrices of the model: 67 million parameters, of which a checkpoint takes 1.3 GB."""
BATCH = 256
"""Samples a step."""
SAVES = 3
MOST = 0.05


class Stack(nn.Module):
    """So many matrices of a model."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(layers))

    def teachers(self) -> list[tuple[nn.Module, nn.Module]]:
        return []

    def forward(self, numbers: Tensor, targets: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        for layer in self.layers:
            numbers = numbers + layer(numbers).relu()
        return numbers.square().mean(), torch.zeros(0)


def run() -> list[Result]:
    """Saves of one engine in turns, beside training and waited for; both are written to the same disk, synced, hashed
    and made whole. The first save, which also takes the memory for the copies, is told apart."""
    group = join_process_group()
    try:
        return _measure(group)
    finally:
        group.leave()


def _measure(group: ProcessGroup) -> list[Result]:
    settings = {
        name: ExperimentSettings.model_validate({"train": {"batch_size": BATCH, "background_saving": name == "beside"}})
        for name in ("beside", "waited for")
    }
    engine = build_engine(Stack(LAYERS), settings["beside"].train, BATCH, group)
    _step(engine)
    begun = time.perf_counter()
    _step(engine)
    step_s = time.perf_counter() - begun
    stalls: dict[str, list[float]] = {name: [] for name in settings}
    seconds: list[float] = []
    with tempfile.TemporaryDirectory(prefix="gavt-") as folder:
        savers = {
            name: Saver(Path(folder) / name / "checkpoints", group, one, lambda: None) for name, one in settings.items()
        }
        step = 0
        for _ in range(SAVES + 1):
            for name, saver in savers.items():
                step += 1
                stalls[name].append(_stall(saver, engine, step))
                (saved,) = saver.whole()
                seconds += [saved.seconds] if name == "beside" else []
        size = saved.bytes
    stall, blocking = median(stalls["beside"][1:]), median(stalls["waited for"][1:])
    peer = (
        f"waiting for the same save of {size / 1e9:.2f} GB: {blocking:.2f} s; standing still {stall:.3f} s beside "
        f"steps of {step_s:.2f} s, whole after {median(seconds[1:]):.2f} s; the first save {stalls['beside'][0]:.3f} s"
    )
    share = stall / blocking
    return [Result("saving_stall", share, "", MOST, share <= MOST, peer)]


def _stall(saver: Saver, engine: Engine, step: int) -> float:
    """Seconds that training stands still for a save and in the step after it."""
    before = saver.stalled_s
    saver.save(engine, step, {})
    _step(engine)
    stall = saver.stalled_s - before
    saver.finish()
    return stall


def _step(engine: Engine) -> None:
    engine.backward(engine.forward(torch.randn(BATCH, WIDTH), {})[0])
    engine.step()
