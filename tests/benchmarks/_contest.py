"""Loaders beside each other: in rounds, each goes through the set once, so that a busy moment strikes all of them."""

import logging
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median

from _peers.child import Child, EpochTime
from _peers.job import Job

PEERS = {"webdataset": "webdataset_loader", "Mosaic": "mosaic_loader", "litData": "litdata_loader"}
WORKERS = (2, 1, 3)
"""Numbers of workers that are tried with each peer."""

_ATTEMPTS = 3
"""Mosaic, for one, now and then reads a file from S3 that another of its workers is still writing."""
_log = logging.getLogger(__name__)


def rate(epochs: list[EpochTime]) -> float:
    """Median of the epochs' samples a second."""
    return median(epoch.rate for epoch in epochs)


def best_workers(job: Job, scratch: Path, samples: int, warm: bool) -> Job:
    """The job with the number of workers that it is fastest with.

    Args:
        warm: whether its second epoch counts, or its first.
    """
    tried = {}
    for workers in WORKERS:
        candidate = replace(job, workers=workers, scratch=str(scratch / f"{job.loader}-trial-{workers}"))
        epochs = fresh(candidate, 2 if warm else 1, samples)
        tried[workers] = epochs[-1].rate
    return replace(job, workers=max(tried, key=lambda workers: tried[workers]))


def fresh(job: Job, epochs: int, samples: int) -> list[EpochTime]:
    """Epochs of a loader in a new process, with an empty scratch folder; a peer that breaks is begun anew.

    Raises:
        RuntimeError: it broke again and again.
    """
    attempts = _ATTEMPTS if job.loader in PEERS.values() else 1
    for attempt in range(attempts):
        scratch = Path(f"{job.scratch}-{attempt}")
        try:
            with Child(replace(job, scratch=str(scratch))) as child:
                found = [child.epoch() for _ in range(epochs)]
            check(found, job, samples)
            return found
        except RuntimeError as error:
            if attempt + 1 == attempts:
                raise
            _log.warning("%s is begun anew: %s", job.loader, str(error).splitlines()[-1])
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    raise RuntimeError(job.loader)


def compete(jobs: Mapping[str, Job], rounds: int, samples: int) -> dict[str, list[EpochTime]]:
    """Epochs of each job after a first one to warm up, in turns."""
    found: dict[str, list[EpochTime]] = {name: [] for name in jobs}
    with ExitStack() as stack:
        children = {name: stack.enter_context(Child(job)) for name, job in jobs.items()}
        for child in children.values():
            child.epoch()
        for _ in range(rounds):
            for name, child in children.items():
                found[name].append(child.epoch())
    for name, epochs in found.items():
        check(epochs, jobs[name], samples)
    return found


def check(epochs: list[EpochTime], job: Job, samples: int) -> None:
    """Each epoch showed all samples, but for the remainders that a loader may leave."""
    left = max(epoch.samples - samples for epoch in epochs), max(samples - epoch.samples for epoch in epochs)
    if max(left) > job.batch_size * job.workers:
        raise RuntimeError(f"{job.loader}: expected {samples} samples an epoch, found {[e.samples for e in epochs]}")
