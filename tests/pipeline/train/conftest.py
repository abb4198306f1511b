"""Fixtures of the training tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from cluster.process_group import ProcessGroup, join_process_group
from tiny_training import Command


@pytest.fixture(scope="session")
def group() -> Iterator[ProcessGroup]:
    """This process alone; one group for all tests, as DeepSpeed's ZeRO-3 keeps the first that it sees.

    It computes with one thread, as the processes that tests start do, so that their numbers are the same to the bit.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    group = join_process_group()
    yield group
    group.leave()
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def command(tmp_path_factory: pytest.TempPathFactory) -> Command:
    return Command(tmp_path_factory.mktemp("training"))


@pytest.fixture(scope="session")
def undisturbed(command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a run that nothing disturbed."""
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    command.finish(run, wandb="offline")
    return run
