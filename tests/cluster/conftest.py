"""Fixtures of the tests of `cluster`."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cached_content import CONTENT, EXTENT, make

from cluster.node_cache import NodeCache


@pytest.fixture
def origin(tmp_path: Path) -> str:
    """A file of `CONTENT`."""
    return make(tmp_path / "data/shard-000000.tar", CONTENT)


@pytest.fixture
def caches(tmp_path: Path) -> Iterator[Callable[..., NodeCache]]:
    """Makes caches of one folder, as many processes would."""
    made: list[NodeCache] = []

    def cache(max_bytes: int = 64 * EXTENT, extent_bytes: int = EXTENT) -> NodeCache:
        made.append(NodeCache(tmp_path / "cache", max_bytes, extent_bytes))
        return made[-1]

    yield cache
    for one in made:
        one.close()


@pytest.fixture(params=["local", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty folder: a local one, then a prefix of a bucket."""
    if request.param == "local":
        yield str(tmp_path / "deep" / "folder")
    else:
        yield request.getfixturevalue("s3_bucket") + "/deep/folder"
