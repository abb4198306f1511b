"""Shard sets and runs that the tests of evaluation share."""

from pathlib import Path

import pytest

from tiny_run import located_rows, tiny_experiment, write_run, write_shards


@pytest.fixture(scope="session")
def located_shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_shards(tmp_path_factory.mktemp("located") / "shards", located_rows(12))


@pytest.fixture(scope="session")
def validation_shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_shards(tmp_path_factory.mktemp("validation") / "shards", located_rows(10), seed=1)


@pytest.fixture(scope="session")
def unlabelled_shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_shards(tmp_path_factory.mktemp("unlabelled") / "shards", [{} for _ in range(9)], seed=2)


@pytest.fixture
def run(tmp_path: Path, located_shards: str, validation_shards: str) -> str:
    return write_run(tmp_path / "run", tiny_experiment(located_shards, validation_shards))
