from pathlib import Path

import pytest

from toy_system.command import Command


@pytest.fixture(scope="session")
def gavt(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """The command, in whose words `gavt.config` are the settings of the toy system."""
    return Command(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="session")
def run(gavt: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a run of one process that nothing disturbed, with all its checkpoints."""
    return gavt.train(tmp_path_factory.mktemp("undisturbed") / "run")
