"""A job's attempts on a Ray cluster, run by a process on its head: nodes are taken as they come, and the ranks run on
them as processes of their own, as under any launcher.

python -m cluster.launchers.ray_attempts JOB ID

Ray Train would run training inside of its actors, which know neither SIGTERM nor exit codes; an actor here only starts
ranks. What `resources` says of one node is reserved together, as one bundle of a placement group; bundles go to
different nodes where they can. Where a node is lost, the job goes on with fewer, of which the batch can be shared out;
where one comes back, the ranks are asked to save and go on with all.
"""

import logging
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import ray
import ray.cloudpickle
import ray.exceptions
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from cluster.exit_codes import INTERRUPTED, RESTART, WRONG_INPUT
from cluster.job_environment import Address, JobEnvironment
from cluster.job_folder import JobFolder
from cluster.job_records import JobRecord
from cluster.launchers import ray_group
from cluster.launchers.attempt import Then, run_attempt
from cluster.launchers.local import run_here
from cluster.launchers.rank_logs import RankLogs
from cluster.launchers.ray import bundle
from cluster.launchers.script import bash_script
from cluster.stop_signals import heeded_signals

_LOOK_EVERY_S = 0.5
_FEWER_S = 5.0
"""How long each smaller number of nodes is waited for."""
_START_S = 60.0
_GRACE_S = 120.0
_GRACE_OF_CRASHED_S = 10.0  # the others wait for one that is gone, and can't save anything
_KILLED_S = 10.0
_PAUSE_S = 1.0
_KEYS = ("AWS_", "GAVT_STORAGE_", "WANDB_")
"""Beginnings of the variables that the ranks get from the head's environment; as arguments, which stand in no log."""


class _Asked:
    """Which signal asked to leave; 0 so far."""

    def __init__(self) -> None:
        self.by = 0
        for number in heeded_signals():
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.by = self.by or number


def run_over_ray(job: JobFolder, id: str) -> None:
    """Run the job's attempts until it is over, or this process is asked to leave."""
    ray.cloudpickle.register_pickle_by_value(ray_group)
    ray.init(address="auto", log_to_driver=False, logging_level=logging.ERROR)
    asked = _Asked()  # in place of Ray's own handler
    then = Then.AGAIN
    while then != Then.OVER and not asked.by:
        with _nodes(job, asked) as nodes:
            if nodes is not None:
                then = run_attempt(job, id, nodes.run, nodes.names)
        time.sleep(_PAUSE_S)
    ray.shutdown()


@contextmanager
def _nodes(job: JobFolder, asked: _Asked) -> Iterator["_Nodes | None"]:
    """Nodes for an attempt: all that are wanted if they come in time, else as many as can share the work; None where
    this process is to leave, or a node went as they were taken."""
    wanted = job.record.resources.nodes
    placed = _place(job.record, asked)
    if placed is None:
        yield None
        return
    group, count = placed
    # the rest is asked for all the time, and told of when it is there
    rest = _reserve(job.record, wanted - count) if count < wanted else None
    try:
        yield _Nodes.started(job, group, count, rest, asked)
    finally:
        for taken in (group, rest):
            if taken is not None:
                remove_placement_group(taken)


def _place(record: JobRecord, asked: _Asked) -> tuple[Any, int] | None:
    each, sizes = record.resources.processes_per_node, record.world_sizes
    wanted = record.resources.nodes
    counts = [count for count in range(wanted, 0, -1) if sizes is None or count * each in sizes]
    while True:
        for count in counts:
            group = _reserve(record, count)
            until = time.monotonic() + (record.site.ray.wait_s if count == wanted else _FEWER_S)
            while time.monotonic() < until and not asked.by:
                if group.wait(_LOOK_EVERY_S):
                    return group, count
            remove_placement_group(group)
            if asked.by:
                return None


def _reserve(record: JobRecord, count: int) -> Any:
    return placement_group([bundle(record)] * count, strategy="SPREAD")


class _Nodes:
    """The nodes of an attempt, each with an actor that starts its ranks.

    Attributes:
        names: of the machines.
    """

    def __init__(
        self, job: JobFolder, actors: Sequence[Any], names: Sequence[str], rest: Any | None, asked: _Asked
    ) -> None:
        self.names = names
        self._job, self._actors, self._rest, self._asked = job, actors, rest, asked

    @classmethod
    def started(cls, job: JobFolder, group: Any, count: int, rest: Any | None, asked: _Asked) -> "_Nodes | None":
        """Start an actor in each bundle; None where that fails, as a node was lost again."""
        needs = bundle(job.record)
        how = {"num_cpus": needs["CPU"], "num_gpus": needs.get("GPU", 0), "max_concurrency": 2}
        actors = [
            ray.remote(ray_group.RankGroup)
            .options(**how, scheduling_strategy=PlacementGroupSchedulingStrategy(group, place))
            .remote()
            for place in range(count)
        ]
        try:
            names = ray.get([actor.name.remote() for actor in actors], timeout=_START_S)
        except ray.exceptions.RayError as error:
            sys.stderr.write(f"gavt: the nodes did not start: {_first_line(error)}\n")
            return None
        return cls(job, actors, names, rest, asked)

    def run(self, logs: RankLogs) -> int | None:
        """Start the ranks and wait for them; the exit code, None where a node was lost."""
        record, first = self._job.record, self._actors[0]
        each = record.resources.processes_per_node
        try:
            place = ray.get(first.meeting_point.remote(), timeout=_START_S)
        except ray.exceptions.RayError:
            return None
        keys = {name: value for name, value in os.environ.items() if name.startswith(_KEYS)}
        running = {}
        for number, actor in enumerate(self._actors):
            rank, world = number * each, len(self._actors) * each
            here = JobEnvironment(rank=rank, world_size=world, local_world_size=each, main=Address(*place))
            running[actor.run.remote(self._script(), keys | here.variables())] = actor
        return _Watch(running, self._rest, self._asked).wait()

    def _script(self) -> str:
        record = self._job.record
        number, each = len(self._job.attempts()), record.resources.processes_per_node
        words = [record.python, "-m", "cluster.launchers.node_ranks", self._job.url, str(number), str(each)]
        return bash_script(record, [], words).rstrip("\n") + ' "$PPID"\n'


class _Watch:
    """Ranks that run on several nodes.

    Args:
        running: what each actor's `run` will give, and the actor.
        rest: bundles that are still to come; None where all are here.
    """

    def __init__(self, running: dict[Any, Any], rest: Any | None, asked: _Asked) -> None:
        self._running, self._rest, self._asked = running, rest, asked
        self._codes: list[int] = []
        self._lost = self._told = False
        self._until = float("inf")

    def wait(self) -> int | None:
        """The exit code when all have ended."""
        while self._running:
            for done in ray.wait(list(self._running), timeout=_LOOK_EVERY_S)[0]:
                self._end(done)
            if not self._told:
                self._look()
            elif time.monotonic() > self._until:
                self._kill()
        if self._lost:
            return None
        failed = [code for code in self._codes if code]
        # what was wrong with the input says most; one that left, left because of another
        return min(failed, key=lambda code: (code != WRONG_INPUT, code in (RESTART, INTERRUPTED)), default=0)

    def _end(self, done: Any) -> None:
        del self._running[done]
        try:
            self._codes.append(ray.get(done))
        except ray.exceptions.RayError as error:
            sys.stderr.write(f"gavt: a node was lost: {_first_line(error)}\n")
            self._lost = True

    def _look(self) -> None:
        """Whether the others are to leave."""
        failed = [code for code in self._codes if code]
        if self._lost or any(code not in (RESTART, INTERRUPTED, WRONG_INPUT) for code in failed):
            self._tell(signal.SIGTERM, _GRACE_OF_CRASHED_S)
        elif failed:
            self._tell(signal.SIGTERM, _GRACE_S)
        elif self._asked.by:
            self._tell(self._asked.by, _GRACE_S)
        elif self._rest is not None and self._rest.wait(0):
            sys.stderr.write("gavt: the missing nodes are there; the ranks save and go on with all\n")
            self._tell(signal.SIGTERM, _GRACE_S)

    def _tell(self, number: int, grace_s: float) -> None:
        self._told, self._until = True, time.monotonic() + grace_s
        for actor in self._running.values():
            actor.signal.remote(int(number))

    def _kill(self) -> None:
        """End those that stay, with all their ranks; one that does not end even so is on a node that is gone."""
        for actor in self._running.values():
            ray.kill(actor)
        _, gone = ray.wait(list(self._running), num_returns=len(self._running), timeout=_KILLED_S)
        self._lost = self._lost or bool(gone)
        self._running = {}


def _first_line(error: Exception) -> str:
    return " ".join(str(error).strip().partition("\n")[0].split()) or type(error).__name__


if __name__ == "__main__":
    _job, _id = JobFolder(sys.argv[1]), sys.argv[2]
    if _job.record.ranked:
        run_over_ray(_job, _id)
    else:
        run_here(_job, _id)
