"""When a job must be gone."""

import time
from dataclasses import dataclass

import psutil

from cluster.job_environment import JobEnvironment

_SAVING_S = 120.0


@dataclass(frozen=True)
class EndTime:
    """When a process should save and leave.

    Attributes:
        monotonic_s: by the clock that nobody sets; None for never.
        unix_s: time of day; None for never.
    """

    monotonic_s: float | None
    unix_s: float | None


def end_time(limit_s: float | None, job: JobEnvironment) -> EndTime | None:
    """When this process should save and leave; None for never.

    That is `limit_s` after the start of the job (of its launcher, where that says so; else of this process), whatever
    the clock is set to meanwhile, and two minutes before the end of a Slurm allocation.
    """
    unix_s = None if job.allocation_ends_s is None else job.allocation_ends_s - _SAVING_S
    monotonic_s = None if limit_s is None else _started(job) + limit_s
    return None if monotonic_s is None and unix_s is None else EndTime(monotonic_s, unix_s)


def time_is_up(end: EndTime | None) -> bool:
    """Whether that time has come."""
    if end is None:
        return False
    over = end.monotonic_s is not None and time.monotonic() >= end.monotonic_s
    return over or (end.unix_s is not None and time.time() >= end.unix_s)


def _started(job: JobEnvironment) -> float:
    """Start of the job, by the monotonic clock."""
    if job.started_s is not None:
        return job.started_s
    age_s: float = time.time() - psutil.Process().create_time()
    return time.monotonic() - max(0.0, age_s)
