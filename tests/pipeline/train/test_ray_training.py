"""Training on a real Ray cluster that loses nodes, and its head: the curve is that of an undisturbed run."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cluster.launchers.ray import RayLauncher
from jobs.local.ray_cluster import RayCluster
from kept_runs import keep_run
from ray_cluster_with_jobs import ray_cluster_with_jobs
from small_job import ODD, wait_until
from tiny_training import Command, curve
from training_on_ray import WORDS, Curve, TrainingOnRay, gavt

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
GROUP = "numbers that any number of ranks gives"


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def cluster() -> Iterator[RayCluster]:
    with ray_cluster_with_jobs(cpus=1, nodes=2, variables={"WANDB_MODE": "disabled"}) as started:
        yield started


@pytest.fixture(scope="module")
def undisturbed(command: Command, tmp_path_factory: pytest.TempPathFactory) -> Curve:
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    command.finish(run, *WORDS, "--nproc", "2")
    keep_run(run, GROUP)
    return curve(run)


def test_with_fewer_nodes_and_then_with_all_again_it_follows_the_undisturbed_curve(
    cluster: RayCluster, command: Command, tmp_path: Path, undisturbed: Curve
) -> None:
    notes = f"train.wandb.notes={json.dumps(ODD)}"
    training = TrainingOnRay(command, tmp_path / "a r'un;$(touch x)\"", cluster, notes)
    training.reach(11)
    cluster.kill_node(1)
    alone = training.a_rank(2)
    training.reach(20)
    alone.suspend()  # else it may be done before the node is there
    cluster.start_node()
    wait_until(lambda: "more nodes are there" in RayLauncher().logs(training.job), 120)
    alone.resume()
    found = training.finish()
    keep_run(training.run, GROUP, "Ray: node lost, one rank, two again")
    assert yaml.safe_load((training.run / "config.yaml").read_text())["train"]["wandb"]["notes"] == ODD
    attempts = training.job.attempts()
    assert [(one.exit_code, one.excused, len(one.nodes)) for one in attempts] == [
        (None, True, 2),
        (75, True, 1),
        (0, False, 2),
    ]
    changes = [event for event in training.records("events") if event["event"] == "resume"]
    assert [event["changed"].get("world_size") for event in changes] == [{"from": 2, "to": 1}, {"from": 1, "to": 2}]
    fewer_from = changes[0]["step"]
    assert fewer_from >= 8
    assert found[:fewer_from] == undisturbed[:fewer_from]
    # sums in another order
    assert [row[0] for row in found] == [row[0] for row in undisturbed]
    assert [row[1] for row in found] == pytest.approx([row[1] for row in undisturbed], rel=1e-4)
    assert [row[5] for row in found if row[5]] == pytest.approx([row[5] for row in undisturbed if row[5]], rel=1e-4)


def test_where_the_head_was_lost_resume_at_another_cluster_follows_the_undisturbed_curve(
    cluster: RayCluster, command: Command, tmp_path: Path, undisturbed: Curve
) -> None:
    training = TrainingOnRay(command, tmp_path / "run", cluster)
    training.reach(11)
    cluster.kill_node(0)  # the other node, and the rank there, live on for a while
    with ray_cluster_with_jobs(cpus=1, nodes=2, variables={"WANDB_MODE": "disabled"}) as another:
        assert gavt("status", str(training.run))["state"] == "unknown"
        gavt("resume", str(training.run), "--address", str(another.dashboard))
        assert training.finish() == undisturbed
    keep_run(training.run, GROUP, "Ray: head lost, resumed on another")
    attempts = training.job.attempts()
    assert (attempts[0].exit_code, attempts[-1].exit_code) == (None, 0)
    assert len({one.id for one in attempts}) == 2
