"""When a job must be gone."""

import os
import time

import psutil

STARTED = "GAVT_JOB_STARTED"
"""Environment variable with the Unix time of the job's start, where a launcher starts processes again."""
_SAVING_S = 120.0


def end_time(limit_s: float | None) -> float | None:
    """Unix time at which this process should save and leave; None for never.

    That is `limit_s` after the start of the job (of its launcher, where that says so; else of this process), and two
    minutes before the end of a Slurm allocation, whose time Slurm tells in SLURM_JOB_END_TIME.
    """
    ends = []
    if limit_s is not None:
        ends.append(float(os.environ.get(STARTED, psutil.Process().create_time())) + limit_s)
    if os.environ.get("SLURM_JOB_END_TIME", "").isdigit():
        ends.append(float(os.environ["SLURM_JOB_END_TIME"]) - _SAVING_S)
    return min(ends, default=None)


def time_is_up(end: float | None) -> bool:
    """Whether that time has come."""
    return end is not None and time.time() >= end
