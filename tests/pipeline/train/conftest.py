"""Fixtures of the training tests."""

from pathlib import Path

import pytest

from tiny_training import Command


@pytest.fixture(scope="session")
def command(tmp_path_factory: pytest.TempPathFactory) -> Command:
    return Command(tmp_path_factory.mktemp("training"))


@pytest.fixture(scope="session")
def undisturbed(command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a run that nothing disturbed."""
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    command.finish(run, wandb="offline")
    return run
