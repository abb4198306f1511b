"""Fixtures of the training tests."""

from pathlib import Path

import pytest
import torch
from small_checkpoints import held, saver_of

from small_engine import WAYS, build
from tiny_training import Command


@pytest.fixture(scope="session")
def undisturbed(command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a run that nothing disturbed."""
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    command.finish(run, wandb="offline")
    return run


@pytest.fixture(scope="session")
def engine(group):
    """The small model's, after two steps; tests save what it holds, and leave it as it is."""
    return build(group, steps=2)


@pytest.fixture(scope="session")
def checkpoints(group, tmp_path_factory):
    """A run of each way of computing: its folder, what its engine held, and its averages."""
    found = {}
    for stage, precision in WAYS:
        run = tmp_path_factory.mktemp("runs") / "run"
        engine = build(group, stage, precision, seed=stage, steps=3)
        averages = [torch.randn(master.shape) for master in engine.masters()]
        saving = saver_of(run, group, stage=stage, precision=precision)
        saving.save(engine, 3, {}, averages)
        saving.finish()
        found[stage, precision] = (run, held(engine, averages), engine.counters())
    return found
