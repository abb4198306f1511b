"""The pool gives every item's results, whatever happens to its workers."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.errors import WorkerPoolError
from cluster.ray_pool import RayPool, Step

STARTED = time.time()


@pytest.fixture(scope="module")
def pool() -> Iterator[RayPool]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))  # the workers import this file's functions from there
        with RayPool(workers=2) as started:
            yield started
    assert not Path(started.folder or "/nowhere").exists()


def squares(number: int) -> Iterator[int]:
    for _ in range(2):
        yield number * number


def test_every_item_gives_its_values_and_then_is_done(pool: RayPool) -> None:
    steps: list[Step[int, int]] = list(pool.map_unordered(squares, range(8)))
    for number in range(8):
        mine = [(step.state, step.value) for step in steps if step.item == number]
        assert mine == [("value", number**2), ("value", number**2), ("done", None)]


def dies_once(marker: str) -> Iterator[str]:
    yield "begun"
    if not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    yield "ended"


def test_an_item_whose_worker_was_killed_is_run_again(pool: RayPool, tmp_path: Path) -> None:
    steps = [(step.state, step.value) for step in pool.map_unordered(dies_once, [str(tmp_path / "marker")])]
    assert ("restarted", None) in steps
    assert steps[-3:] == [("value", "begun"), ("value", "ended"), ("done", None)]


def dies(number: int) -> Iterator[int]:
    if number == 1:
        os.kill(os.getpid(), signal.SIGSEGV)
    yield number


def test_an_item_that_always_kills_its_worker_is_lost_and_its_neighbours_are_not(pool: RayPool) -> None:
    steps: list[Step[int, int]] = list(pool.map_unordered(dies, range(3), attempts=2))
    assert [step.item for step in steps if step.state == "lost"] == [1]
    assert sorted(step.item for step in steps if step.state == "done") == [0, 2]


def fails(number: int) -> Iterator[int]:
    yield number
    raise WorkerPoolError(f"item {number} is wrong")


def test_an_exception_of_the_function_comes_back_as_itself(pool: RayPool) -> None:
    with pytest.raises(WorkerPoolError, match="item 0 is wrong"):
        list(pool.map_unordered(fails, [0]))


def environment(name: str) -> Iterator[str | None]:
    yield os.environ.get(name)


def test_workers_have_the_environment_in_which_the_pool_started(pool: RayPool) -> None:
    values = [step.value for step in pool.map_unordered(environment, ["PYTHONPATH"]) if step.state == "value"]
    assert str(Path(__file__).parent) in str(values[0])


def test_no_token_is_left_in_the_home_folder(pool: RayPool) -> None:
    token = Path.home() / ".ray" / "auth_token"
    assert not token.exists() or token.stat().st_mtime < STARTED


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("127.0.0.1:1", "--ray-address 127.0.0.1:1: expected a running Ray cluster, found none (Connection refused)"),
        (
            "ray://host:10001",
            "--ray-address: expected host:port of a cluster's head node, or auto, found 'ray://host:10001'",
        ),
    ],
)
def test_a_cluster_that_is_not_there_is_one_sentence(address: str, sentence: str) -> None:
    code = f"from cluster.ray_pool import RayPool\nwith RayPool({address!r}): pass"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ended.stderr.strip().endswith(sentence)
