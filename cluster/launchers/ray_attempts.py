"""A job's attempts on a Ray cluster, run by a process on its head: nodes are taken as they come, and the ranks run on
them as processes of their own, as under any launcher.

python -m cluster.launchers.ray_attempts JOB ID

Ray Train would run training inside of its actors, which know neither SIGTERM nor exit codes; an actor here only starts
ranks. What `resources` says of one node is reserved together, as one bundle of a placement group; bundles go to
different nodes where they can. Where a node is lost, the job goes on with as many as its work can be shared out among;
where others come, the ranks are asked to save and go on with more, but not before they had the time for a few steps: a
node that comes and goes costs no more than that.
"""

import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import ray
import ray.cloudpickle
import ray.exceptions
from ray._private.state import available_resources_per_node
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from cluster import storage
from cluster.errors import JobError, UserError
from cluster.exit_codes import WRONG_INPUT
from cluster.job_environment import Address, JobEnvironment
from cluster.job_folder import JobFolder
from cluster.job_records import JobRecord
from cluster.launchers import ray_group
from cluster.launchers.attempt import Then, rest, run_attempt
from cluster.launchers.local import run_here
from cluster.launchers.rank_logs import RankLogs
from cluster.launchers.ray import bundle
from cluster.launchers.ray_sent import as_sent
from cluster.launchers.ray_watch import Asked, RankWatch, RayNode, first_line
from cluster.launchers.script import bash_script

_LOOK_EVERY_S = 0.5
_FEWER_S = 5.0
"""How long each smaller number of nodes is waited for."""
_START_S = 60.0
_PAUSE_S = 1.0
_KEYS = (*storage.ACCOUNT_VARIABLES, "WANDB_")
"""Beginnings of the variables that the ranks get from the head's environment; as arguments, which stand in no log."""


def run_over_ray(job: JobFolder, id: str) -> None:
    """Run the job's attempts until it is over, or this process is asked to leave."""
    ray.cloudpickle.register_pickle_by_value(ray_group)
    try:
        ray.init(address="auto", log_to_driver=False, logging_level=logging.ERROR)
    except RuntimeError as error:
        if "Version mismatch" not in str(error):
            raise
        why = f"{job.record.python} can't join the cluster: {' '.join(str(error).split())}"
        job.end("failed", why)  # it would be the same every time
        raise JobError(f"{job.name}: {why}") from None
    asked = Asked()  # in place of Ray's own handler
    then, most = Then.AGAIN, job.record.resources.nodes
    while then != Then.OVER and not asked.by:
        with _nodes(job, asked, most) as nodes:
            while nodes is not None and nodes.are_there and not asked.by:
                then = run_attempt(job, id, nodes.run, nodes.names, nodes.is_excused)
                time.sleep(_PAUSE_S)
                if then != Then.AGAIN:
                    break
            most = job.record.resources.nodes if nodes is None else nodes.most
        if then == Then.WHEN_FREE:  # the nodes are anybody's meanwhile
            rest(job, lambda: asked.by)
    ray.shutdown()


@contextmanager
def _nodes(job: JobFolder, asked: Asked, most: int) -> Iterator["_Nodes | None"]:
    """Nodes for attempts: `most` of them if they come in time, else as many as can share the work; None where this
    process is to leave, or a node went as they were taken."""
    wanted = job.record.resources.nodes
    placed = _place(job.record, asked, most)
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


def _place(record: JobRecord, asked: Asked, most: int) -> tuple[Any, int] | None:
    while True:
        for count in node_counts(record, most):
            group = _reserve(record, count)
            wait_s = record.site.ray.wait_s if count == most else _FEWER_S
            until = time.monotonic() + wait_s
            while time.monotonic() < until and not asked.by:
                if group.wait(_LOOK_EVERY_S):
                    return group, count
            remove_placement_group(group)
            if asked.by:
                return None


def node_counts(record: JobRecord, most: int | None = None) -> list[int]:
    """With how many nodes a job may run, `most` (all) first: among their ranks its work can be shared out."""
    each, sizes = record.resources.processes_per_node, record.world_sizes
    counts = range(most or record.resources.nodes, 0, -1)
    return [count for count in counts if sizes is None or count * each in sizes]


def count_with(record: JobRecord, here: int, free: Iterable[Mapping[str, float]]) -> int:
    """With how many nodes a job could go on that runs on `here` of them.

    Args:
        free: what else each node of the cluster has.
    """
    each = bundle(record)
    fitting = here + sum(min(int(node.get(name, 0) // need) for name, need in each.items()) for node in free)
    return next((count for count in node_counts(record) if count <= fitting), here)


def _reserve(record: JobRecord, count: int) -> Any:
    return placement_group([bundle(record)] * count, strategy="SPREAD")


class _Nodes:
    """Nodes for attempts, each with an actor that starts its ranks.

    Attributes:
        are_there: whether another attempt can have them: none was lost, and none of those that were missing has come.
        most: how many the next attempt may get at once.
    """

    def __init__(self, job: JobFolder, nodes: Sequence[RayNode], rest: Any | None, asked: Asked) -> None:
        self._job, self._nodes, self._rest, self._asked = job, nodes, rest, asked
        self._excused = False
        self.are_there = True
        self.most = job.record.resources.nodes

    @classmethod
    def started(cls, job: JobFolder, group: Any, count: int, rest: Any | None, asked: Asked) -> "_Nodes | None":
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
            places = ray.get([actor.place.remote() for actor in actors], timeout=_START_S)
        except ray.exceptions.RayError as error:
            sys.stderr.write(f"gavt: the nodes did not start: {first_line(error)}\n")
            return None
        nodes = [RayNode(actor, *place) for actor, place in zip(actors, places, strict=True)]
        return cls(job, nodes, rest, asked)

    @property
    def names(self) -> list[str]:
        """Of the machines."""
        return [node.name for node in self._nodes]

    def run(self, logs: RankLogs) -> int | None:
        """Start the ranks and wait for them; the exit code, None where a node was lost."""
        record, number = self._job.record, len(self._job.attempts())
        each = record.resources.processes_per_node
        self.are_there = self._excused = False
        try:
            place = ray.get(self._nodes[0].actor.meeting_point.remote(), timeout=_START_S)
        except ray.exceptions.RayError:
            return None
        keys = {name: value for name, value in os.environ.items() if name.startswith(_KEYS)}
        running = {}
        for index, node in enumerate(self._nodes):
            rank, world = index * each, len(self._nodes) * each
            here = JobEnvironment(
                rank=rank, world_size=world, local_world_size=each, main=Address(*place), node=node.id
            )
            running[node.actor.run.remote(number, self._script(number), keys | here.variables())] = node
        watch = RankWatch(number, running, self._more_are_there, self._asked, record.site.ray.wait_s)
        code = watch.wait()
        self.are_there, self._excused = watch.are_there, watch.is_excused
        return code

    def _more_are_there(self) -> bool:
        """Whether the job could go on with more nodes, of those that it has to do without."""
        record, here = self._job.record, len(self._nodes)
        if self._rest is None:
            return False
        all_are_there = self._rest.wait(0)
        wanted = record.resources.nodes
        count = wanted if all_are_there else count_with(record, here, available_resources_per_node().values())
        self.most = count if count > here else wanted
        return count > here

    def is_excused(self) -> bool:
        """Whether it was the cluster that ended what `run` has started; see `RankWatch`."""
        return self._excused

    def _script(self, number: int) -> str:
        record, each = self._job.record, self._job.record.resources.processes_per_node
        words = [record.python, "-m", "cluster.launchers.node_ranks", self._job.url, str(number), str(each)]
        return bash_script(as_sent(record), [], words).rstrip("\n") + ' "$PPID"\n'


def main() -> None:
    """What Ray starts on the head."""
    url, id = sys.argv[1:]
    try:
        job = JobFolder(url)
        if job.record.ranked:
            run_over_ray(job, id)
        else:
            run_here(job, id)
    except UserError as error:
        sys.stderr.write(f"gavt: {error}\n")
        raise SystemExit(WRONG_INPUT) from None


if __name__ == "__main__":
    main()
