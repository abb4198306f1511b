"""When a job must be gone."""

import os
import time
from dataclasses import dataclass

import psutil

STARTED = "GAVT_JOB_STARTED"
"""Environment variable with the time of the job's start by this machine's monotonic clock, where a launcher starts
processes again."""
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


def end_time(limit_s: float | None) -> EndTime | None:
    """When this process should save and leave; None for never.

    That is `limit_s` after the start of the job (of its launcher, where that says so; else of this process), whatever
    the clock is set to meanwhile, and two minutes before the end of a Slurm allocation, whose time of day Slurm tells
    in SLURM_JOB_END_TIME.
    """
    ends = os.environ.get("SLURM_JOB_END_TIME", "")
    unix_s = float(ends) - _SAVING_S if ends.isdigit() else None
    monotonic_s = None if limit_s is None else _started() + limit_s
    return None if monotonic_s is None and unix_s is None else EndTime(monotonic_s, unix_s)


def time_is_up(end: EndTime | None) -> bool:
    """Whether that time has come."""
    if end is None:
        return False
    over = end.monotonic_s is not None and time.monotonic() >= end.monotonic_s
    return over or (end.unix_s is not None and time.time() >= end.unix_s)


def _started() -> float:
    """Start of the job, by the monotonic clock."""
    said = os.environ.get(STARTED)
    if said is not None:
        return float(said)
    age_s: float = time.time() - psutil.Process().create_time()
    return time.monotonic() - max(0.0, age_s)
