"""Where the time of a few training steps goes.

RUN/profile/
    trace.json.gz   the main process's operations, for https://ui.perfetto.dev
    table.txt       the ten most expensive of them
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from cluster.process_group import ProcessGroup

_WARM_UP = 10
_STEPS = 3
_ROWS = 10
_NAME = 60


@dataclass(frozen=True)
class ProfileRequest:
    """What is to be recorded.

    Attributes:
        first, last: steps, counted from 1 as in `metrics.jsonl`; None for a few after a warm-up.
        say: called with the table.
    """

    first: int | None
    last: int | None
    say: Callable[[str], None]


class StepProfiler:
    """Records some steps of the main process; does nothing on the others, or when nothing was asked for."""

    def __init__(self, run: Path, group: ProcessGroup, asked: ProfileRequest | None, steps: int) -> None:
        self._folder, self._group, self._steps = run / "profile", group, steps
        self._asked = asked if group.is_main else None
        self._first = self._last = -1
        self._began = False
        self._recording: profile | None = None

    def before(self, step: int) -> None:
        """Step `step`, counted from 0, is next; after the last it is their number."""
        if self._asked is None:
            return
        if self._last < 0:
            self._choose(step)
        if self._recording is not None and (step > self._last or step == self._steps):
            self._finish(self._asked)
        elif step == self._steps and not self._began:
            self._asked.say(f"steps {self._first + 1} to {self._last + 1} were not done here: nothing was recorded\n")
        elif step == self._first and step < self._steps:
            self._begin()

    def _choose(self, step: int) -> None:
        assert self._asked is not None
        if self._asked.first is not None and self._asked.last is not None:
            self._first, self._last = self._asked.first - 1, self._asked.last - 1
        else:  # a short run has a shorter warm-up
            self._first = step + min(_WARM_UP, max(0, self._steps - step - _STEPS))
            self._last = self._first + _STEPS - 1

    def _begin(self) -> None:
        self._began = True
        os.environ.setdefault("KINETO_LOG_LEVEL", "5")  # else it complains of every GPU that isn't there
        activities = [ProfilerActivity.CPU]
        if self._group.device.type == "cuda":
            activities.append(ProfilerActivity.CUDA)
        self._recording = profile(activities=activities)
        self._recording.start()

    def _finish(self, asked: ProfileRequest) -> None:
        recording, self._recording = self._recording, None
        assert recording is not None
        if self._group.device.type == "cuda":
            torch.cuda.synchronize()
        recording.stop()
        self._folder.mkdir(parents=True, exist_ok=True)
        recording.export_chrome_trace(str(self._folder / "trace.json.gz"))
        title = f"steps {self._first + 1} to {min(self._last + 1, self._steps)}, {self._group.device.type} time"
        table = most_expensive(recording, self._group.device.type == "cuda", title)
        (self._folder / "table.txt").write_text(table, encoding="utf-8")
        asked.say(table)


def most_expensive(recording: profile, on_gpu: bool, title: str) -> str:
    """The operations that took most time of their own (on the GPU where there is one), as a table."""
    rows = costs(recording.key_averages(), on_gpu)
    whole = sum(milliseconds for _, _, milliseconds in rows) or 1.0
    lines = [f"{title:<{_NAME}} {'calls':>7} {'ms':>10} {'share':>7}"]
    lines += [f"{name[:_NAME]:<{_NAME}} {calls:>7} {ms:>10.2f} {ms / whole:>7.1%}" for name, calls, ms in rows[:_ROWS]]
    return "\n".join(lines) + "\n"


def costs(averages: Iterable[Any], on_gpu: bool) -> list[tuple[str, int, float]]:
    """Name, calls and milliseconds of their own of what a recording's `key_averages` hold, the costliest first: of
    operations on a CPU; on a GPU of its kernels, whose time the rows of the operations that began them, and of
    annotations around these, have once more."""
    if on_gpu:
        kernels = [row for row in averages if row.device_type.name != "CPU" and not row.is_user_annotation]
        rows = [(row.key, row.count, row.self_device_time_total / 1000) for row in kernels]
    else:
        rows = [(row.key, row.count, row.self_cpu_time_total / 1000) for row in averages]
    return sorted(rows, key=lambda row: -row[2])
