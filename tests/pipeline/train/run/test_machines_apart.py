"""Training on machines that share nothing but object storage: networks, processes, files and shared memory apart."""

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from apart_machines import Network, why_not
from cluster import storage
from cluster.exit_codes import IN_USE
from cluster.free_port import free_port
from cluster.job_environment import Address, JobEnvironment
from jobs.local import s3
from pipeline.train.records.metrics_log import read_records
from pipeline.train.run.remote_run import fetch_run
from saved_weights import saved_weights
from tiny_training import Command, curve

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
STEPS = ("train.steps=30", "train.checkpoint_every=6", "train.zero_stage=2", "train.ema_decay=0.9")
# what dropout draws and the statistics of one process's samples would depend on the number of processes
ANYWHERE = ("model.dropout=0", "model.visual_embedder.norm=group", "model.audio_embedder.norm=group", "task.group=4")

RANKS = """
import sys
from cluster.job_environment import JobEnvironment
from cluster.launch import launch_local
sys.exit(launch_local(sys.argv[2:], int(sys.argv[1]), among=JobEnvironment.of_this_process()))
"""


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    with Network(tmp_path / "machines") as network:
        yield network


@pytest.fixture
def bucket(network: Network, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket of a server that the machines reach, too."""
    if (reason := s3.why_not()) is not None:
        pytest.skip(reason)
    import s3fs

    root = Path(tempfile.mkdtemp(prefix="gavt-s3-"))
    server = s3.start(root, host=network.address)
    try:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("WANDB_MODE", "offline")
        s3fs.S3FileSystem(
            key=server.access_key, secret=server.secret_key, endpoint_url=server.endpoint, skip_instance_cache=True
        ).mkdir("apart")
        yield "s3://apart"
    finally:
        s3.stop(root)
        shutil.rmtree(root)


class Job:
    """Training on machines; starts them anew as often as it is told."""

    def __init__(self, network: Network, bucket: str, command: Command, ranks: int, *words: str) -> None:
        self.network, self.run, self.ranks = network, f"{bucket}/run", ranks
        words = (*STEPS, *words, "--run", self.run)
        settings = yaml.safe_load(command.config.read_text())
        for split in ("train", "validation"):
            settings["data"][split] = f"{bucket}/shards/{split}"
            for file in (command.folder / split).iterdir():
                storage.upload(file, f"{bucket}/shards/{split}/{file.name}")
        self.command = [sys.executable, "-m", "jobs.cli", "train", "config.yaml", *words]
        for machine in network.machines:
            (machine.folder / "config.yaml").write_text(yaml.safe_dump(settings))

    def start(self, count: int) -> list["subprocess.Popen[bytes]"]:
        """Have so many machines go on, each as a place starts the ranks of one (`cluster.launchers.node_ranks`)."""
        machines, port = self.network.machines[:count], free_port()
        started = []
        for number, machine in enumerate(machines):
            first = JobEnvironment(
                rank=number * self.ranks,
                world_size=count * self.ranks,
                local_world_size=self.ranks,
                main=Address(machines[0].name, port),
            )
            words = [sys.executable, "-c", RANKS, str(self.ranks), *self.command]
            started.append(machine.start(words, first.variables()))
        return started

    def reach(self, step: int, processes: list) -> None:
        """Wait for a checkpoint."""
        latest = f"{self.run}/checkpoints/latest"
        until = time.monotonic() + 600
        while not (storage.exists(latest) and int(storage.read_text(latest).removeprefix("step-")) >= step):
            assert all(process.poll() is None for process in processes), self.said()
            assert time.monotonic() < until, self.said()
            time.sleep(0.02)

    def finish(self, processes: list) -> None:
        assert [process.wait(600) for process in processes] == [0] * len(processes), self.said()

    def said(self) -> str:
        return "\n".join(machine.said()[-4000:] for machine in self.network.machines)


def test_killed_on_one_side_gone_on_with_one_machine_and_with_two_again_it_follows_the_undisturbed_curve(
    network: Network, bucket: str, command: Command, tmp_path: Path
) -> None:
    job = Job(network, bucket, command, 2, *ANYWHERE)
    first, second = network.machines
    both = job.start(2)
    job.reach(6, both)
    second.kill()
    assert both[0].wait(600)  # which can't go on alone
    alone = job.start(1)
    job.reach(18, alone)
    first.kill()
    job.finish(job.start(2))

    fetch_run(job.run, tmp_path / "fetched")
    events = read_records(tmp_path / "fetched" / "events.jsonl")
    began = [(event["event"], event["world_size"]) for event in events if event["event"] in ("start", "resume")]
    assert began == [("start", 4), ("resume", 2), ("resume", 4)]
    command.finish(tmp_path / "whole", *STEPS, *ANYWHERE)
    ours, theirs = curve(tmp_path / "fetched"), curve(tmp_path / "whole")
    assert [row[0] for row in ours] == [row[0] for row in theirs]
    for mine, whole in zip(ours, theirs, strict=True):  # but for the order in which numbers are added up
        assert [one for one in mine if one is not None] == pytest.approx(
            [one for one in whole if one is not None], rel=1e-3, abs=1e-5
        )
    found, expected = saved_weights(job.run, True), saved_weights(tmp_path / "whole", True)
    for name, weights in expected.items():
        assert found[name].float() == pytest.approx(weights.float(), abs=1e-3), name
    names = {storage.name_below(job.run, file) for file in storage.list_files(job.run)}
    assert {f"logs/rank-{rank:05d}.log" for rank in range(4)} <= names
    assert ".lock" not in names
    # neither machine has anything of it, but for what it was given and what libraries keep
    for machine in network.machines:
        left = {path.name for path in (machine.folder / "tmp").iterdir()}
        assert not [name for name in left if name.startswith("gavt-run")], left


def test_gone_on_with_as_many_processes_it_is_the_undisturbed_run_to_the_bit(
    network: Network, bucket: str, command: Command, tmp_path: Path
) -> None:
    job = Job(network, bucket, command, 1)
    both = job.start(2)
    job.reach(12, both)
    for machine in network.machines:
        machine.kill()
    job.finish(job.start(2))

    fetch_run(job.run, tmp_path / "fetched")
    command.finish(tmp_path / "whole", *STEPS, "--nproc", "2")
    assert curve(tmp_path / "fetched") == curve(tmp_path / "whole")
    for average in (False, True):
        found, expected = saved_weights(job.run, average), saved_weights(tmp_path / "whole", average)
        assert all(found[name].equal(weights) for name, weights in expected.items())


def test_a_run_has_one_machine_at_a_time_and_one_that_stood_still_until_another_took_over_stops(
    network: Network, bucket: str, command: Command
) -> None:
    job = Job(network, bucket, command, 2, "train.steps=100000")
    first, second = network.machines
    (holder,) = job.start(1)
    job.reach(6, [holder])
    refused = second.start(job.command, {})
    assert refused.wait(600) == IN_USE, second.said()
    (sentence,) = [line for line in second.said().splitlines() if line.startswith("gavt: ")]
    assert re.fullmatch(
        rf"gavt: {job.run}: another gavt train works on it \(process \d+ on {first.name} since [\d: -]+ UTC\); "
        "wait for it, or stop it first",
        sentence,
    )
    assert "Traceback" not in second.said()
    assert holder.poll() is None
    first.stand_still()
    reached = int(storage.read_text(f"{job.run}/checkpoints/latest").removeprefix("step-"))
    successor = second.start(job.command, {})
    job.reach(reached + 12, [successor])  # when the lease has run out
    first.go_on()
    assert holder.wait(60) == IN_USE, first.said()
    (sentence,) = [line for line in first.said().splitlines() if line.startswith("gavt: ")]
    assert re.fullmatch(
        rf"gavt: {job.run}: gavt train goes on elsewhere \(process \d+ on {second.name} since .*\), and stops here",
        sentence,
    )
    reached = int(storage.read_text(f"{job.run}/checkpoints/latest").removeprefix("step-"))
    job.reach(reached + 12, [successor])
    events = storage.read_text(f"{job.run}/events.jsonl")
    assert [json.loads(line)["event"] for line in events.splitlines()].count("resume") == 1
