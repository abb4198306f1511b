"""How many cores this process may use: fewer than the machine has in a container or in a scheduler's job."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OF_THIS_PROCESS = Path("/proc/self/cgroup")


def usable_cores() -> int:
    """Cores that this process may run on (its affinity), no more than the CPU time that its cgroups are given; at least
    one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *(math.floor(quota) for quota in _quotas())]))


def _quotas() -> Iterator[float]:
    """CPU time (s) a second that each cgroup above this process allows, of version 1 and 2; none where none does."""
    try:
        lines = _OF_THIS_PROCESS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        names = controllers.split(",")
        if controllers == "":
            for folder in _up_from(_CGROUPS, path):
                yield from _ratio(_words(folder / "cpu.max"))
        elif "cpu" in names:
            for root in (_CGROUPS / controllers, _CGROUPS / "cpu"):
                for folder in _up_from(root, path):
                    yield from _ratio(_words(folder / "cpu.cfs_quota_us") + _words(folder / "cpu.cfs_period_us"))


def _up_from(root: Path, path: str) -> Iterator[Path]:
    """The folder of a cgroup and of all above it. In a container the path may be the host's, which is not there."""
    folder = root / path.lstrip("/")
    yield from (place for place in (folder, *folder.parents) if place.is_relative_to(root))


def _words(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").split()
    except OSError:
        return []


def _ratio(quota_and_period: list[str]) -> Iterator[float]:
    if len(quota_and_period) == 2 and all(word.isdigit() for word in quota_and_period):  # not max, not -1
        quota, period = map(int, quota_and_period)
        if period:
            yield quota / period
