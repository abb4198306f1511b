"""The time that a process spends on its own, without waiting for others: by it stragglers are told."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class OwnTime:
    """Counts a step's stretches without talk between processes: reading data and forward passes.

    On a GPU the forward passes are timed there, and counted a step later, so that nobody waits for the clock. Under
    ZeRO-3 forward passes gather parameters, and with `norm: sync_batch` statistics, so a slow process shows in the
    times of the others too.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._host_s = 0.0
        self._running: list[tuple[torch.Event, torch.Event]] = []
        self._before: list[tuple[torch.Event, torch.Event]] = []

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Count a stretch on the host."""
        started = time.perf_counter()
        yield
        self._host_s += time.perf_counter() - started

    @contextmanager
    def forward(self) -> Iterator[None]:
        """Count a stretch on the device."""
        if not self._on_gpu:
            with self.reading():
                yield
            return
        begin, end = torch.Event("cuda", enable_timing=True), torch.Event("cuda", enable_timing=True)
        begin.record()
        yield
        end.record()
        self._running.append((begin, end))

    def take(self) -> float:
        """Seconds since the last call; at the end of each step."""
        # those of the step before are over: its flags were exchanged since
        on_gpu_ms: float = sum(begin.elapsed_time(end) for begin, end in self._before)
        seconds = self._host_s + on_gpu_ms / 1000
        self._host_s, self._before, self._running = 0.0, self._running, []
        return seconds
