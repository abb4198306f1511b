"""The machines of a Ray cluster examined: ranks on all nodes, as many as each has GPUs, at least one."""

import logging
import os
from collections.abc import Iterable

import ray
import ray.exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster import storage
from cluster.doctor.examine import examine
from cluster.doctor.installed import versions
from cluster.doctor.ranks import JobReport, examine_job
from cluster.errors import WorkerPoolError
from cluster.free_port import free_port
from cluster.job_environment import Address, JobEnvironment

_START_S = 120.0
_ALL_S = 420.0
_NAMES = (*storage.ACCOUNT_VARIABLES, "GAVT_", "WANDB_", "NCCL_", "GLOO_")
"""Beginnings of the variables that the nodes' processes are given; as arguments, which stand in no log."""


def examine_over_ray(address: str, distribution: str, urls: Iterable[str]) -> JobReport:
    """Examine all nodes of a cluster (`host:port`, or `auto` on one of its nodes) and what is between them. Nothing is
    reserved: busy nodes are examined too.

    Args:
        distribution, urls: as for `examine`.

    Raises:
        WorkerPoolError: it can't be reached, or its nodes did not start what examines them.
    """
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (RuntimeError, OSError, ValueError, ray.exceptions.RayError) as error:
        said = " ".join(str(error).split())
        raise WorkerPoolError(f"RAY_ADDRESS={address}: expected a running Ray cluster, found none: {said}") from error
    try:
        return _examine([node for node in ray.nodes() if node["Alive"]], distribution, list(urls))
    except ray.exceptions.GetTimeoutError:
        raise WorkerPoolError(
            f"RAY_ADDRESS={address}: its nodes did not answer in time; see `ray status`, and whether they have this "
            "program's environment"
        ) from None
    except ray.exceptions.RayError as error:
        said = " ".join(str(error).strip().splitlines()[-1:])
        raise WorkerPoolError(f"RAY_ADDRESS={address}: a node could not be examined: {said}") from error
    finally:
        ray.shutdown()


def _examine(nodes: list[dict[str, object]], distribution: str, urls: list[str]) -> JobReport:
    given = {name: value for name, value in os.environ.items() if name.startswith(_NAMES)}
    ranks = [(node, local) for node in nodes for local in range(max(1, _gpus(node)))]
    port = ray.get(_on(nodes[0], free_port), timeout=_START_S)
    main = Address(str(nodes[0]["NodeManagerAddress"]), port)
    asked = []
    for rank, (node, local) in enumerate(ranks):
        machine = f"{node['NodeManagerHostname']} ({str(node['NodeID'])[:6]})"
        job = JobEnvironment(rank, local, len(ranks), max(1, _gpus(node)), main)
        asked.append(_on(node, _rank, job, machine, given, distribution, urls))
    report = ray.get(asked, timeout=_ALL_S)[0]
    assert isinstance(report, JobReport)
    return report


def _on(node: dict[str, object], function: object, *arguments: object) -> object:
    """Have a node call a function, in a process that ends with it."""
    strategy = NodeAffinitySchedulingStrategy(str(node["NodeID"]), soft=False)
    # each rank sees all GPUs of its node, as under a launcher
    variables = {"env_vars": {"RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES": "1"}}
    how = {"num_cpus": 0, "max_calls": 1, "max_retries": 0, "scheduling_strategy": strategy, "runtime_env": variables}
    return ray.remote(**how)(function).remote(*arguments)


def _rank(
    job: JobEnvironment, machine: str, given: dict[str, str], distribution: str, urls: list[str]
) -> JobReport | None:
    os.environ.update(given)
    return examine_job(job, machine, lambda world: examine(distribution, urls, world), versions(distribution))


def _gpus(node: dict[str, object]) -> int:
    resources = node["Resources"]
    return int(resources.get("GPU", 0)) if isinstance(resources, dict) else 0
