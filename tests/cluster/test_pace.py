"""A host is asked no more often than it may be, by one process and by all workers of a cluster."""

import os
import pickle
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import ray.exceptions

from cluster.pace import LocalPace, Pace
from cluster.ray_pace import RayPace
from cluster.ray_pool import RayPool
from faulty_proxy import FileServer

_RATE_HZ = 5.0


def test_turns_lie_apart_by_the_rate_for_each_host() -> None:
    pace = LocalPace()
    waits = [pace.reserve("a", 0.01) for _ in range(3)]
    assert waits[0] == 0
    assert waits[1] == pytest.approx(100, abs=5)
    assert waits[2] == pytest.approx(200, abs=5)
    assert pace.reserve("b", 0.01) == 0
    assert pace.reserve("c") == 0
    assert pace.reserve("c") == 0


def test_a_host_on_hold_gives_no_turn_before_its_end() -> None:
    pace = LocalPace()
    pace.hold("a", 100)
    pace.hold("a", 10)
    assert pace.held("a")
    assert not pace.held("b")
    assert pace.reserve("b") == 0
    assert pace.reserve("a") == pytest.approx(100, abs=5)
    assert pace.reserve("a", 0.1) == pytest.approx(100, abs=5)
    assert pace.reserve("a", 0.1) == pytest.approx(110, abs=5)
    pace.hold("c", 0.01)
    time.sleep(0.02)
    assert not pace.held("c")
    assert pace.reserve("c") == 0


def test_a_local_pace_can_be_sent_and_starts_anew() -> None:
    pace = LocalPace()
    pace.hold("a", 100)
    assert pickle.loads(pickle.dumps(pace)).reserve("a") == 0


def ask_in_turn(task: tuple[Pace, str, int]) -> Iterator[int]:
    """Ask a server some times, at the pace that it may be asked at."""
    pace, url, times = task
    for _ in range(times):
        time.sleep(pace.reserve("server", _RATE_HZ))
        with urllib.request.urlopen(url) as answer:
            yield answer.status


@pytest.fixture(scope="module")
def pool() -> Iterator[RayPool]:
    """Two workers."""
    with pytest.MonkeyPatch.context() as patch:
        # the workers import this file's functions, and what it imports, from there
        patch.setenv("PYTHONPATH", os.pathsep.join(str(folder) for folder in list(Path(__file__).parents)[:2]))
        with RayPool(workers=2) as running:
            yield running


def test_all_workers_of_a_pool_share_their_turns(pool: RayPool, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    with FileServer(tmp_path) as server:
        begun = time.monotonic()
        steps = list(pool.map_unordered(ask_in_turn, [(RayPace(), f"{server.url}/x", 4)] * 3))
    assert [step.value for step in steps if step.state == "value"] == [200] * 12
    for number, request in enumerate(server.requests):
        assert request.time_s - begun >= number / _RATE_HZ


def wait_until_dead(actor: Any) -> None:
    """An actor that is killed may answer a few times more before it ends."""
    while True:
        try:
            ray.get(actor.held.remote("host"), timeout=20)
        except ray.exceptions.RayActorError:
            return


def test_workers_go_on_alone_when_their_pace_is_lost(pool: RayPool, caplog: pytest.LogCaptureFixture) -> None:
    keeper = ray.remote(num_cpus=0)(LocalPace).remote()
    pace = RayPace(keeper)
    assert pace.reserve("host", 0.01) == 0
    ray.kill(keeper)
    wait_until_dead(keeper)
    assert pace.reserve("host", 0.01) == 0
    assert pace.reserve("host", 0.01) == pytest.approx(100, abs=5)
    assert caplog.text.count("this process goes on at its own") == 1
