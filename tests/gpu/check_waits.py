"""Where the host waits for the GPU in a step, how much of it the GPU works, and what it spends its time on."""

import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from findings import Findings
from pipeline.train.engine.engine import Engine
from pipeline.train.health.step_flags import StepSums
from pipeline.train.profile import costs
from pipeline.train.step import Stepper, StopRequest
from short_training import ROOT, TINY, on_gpu, settings_of, step_ms, train_shortly

_WATCHED, _RECORDED = 3, 5
"""Steps, counted from 0: of one the waits are noted, another is profiled."""
_RUNS = (("gavt_c", 256), ("gavt_base", 32), ("gavt_large", 16))


def check(findings: Findings) -> None:
    for name, samples in _RUNS[: 1 if findings.rehearses else None]:
        if not findings.has_time(12, name):
            continue
        with findings.judged(name) as found:
            config, samples = (TINY, 8) if findings.rehearses else (name, samples)
            words = [f"train.batch_size={2 * samples}", f"train.micro_batch={samples}"]
            settings = settings_of(config, "train.precision=bf16", "train.compile=false", *words)
            with _watched() as seen:
                run = train_shortly(settings, _RECORDED + 3).run
            rows = costs(seen.recording.key_averages(), on_gpu())
            busy = sum(milliseconds for _, _, milliseconds in rows)
            found |= {"ok": run.finite, "step_ms": step_ms(run)}
            found |= {"busy_ms": round(busy, 1), "profiled_ms": round(seen.profiled_ms, 1)}
            found |= {"waits": sum(seen.waits.values()), "places": seen.waits.most_common(15)}
            found |= {"kernels": [(name[:60], calls, round(ms, 2)) for name, calls, ms in rows[:12]]}


class _Seen:
    """What two steps showed.

    Attributes:
        waits: of the host for the GPU, by the innermost lines of this project and DeepSpeed.
    """

    recording: Any
    profiled_ms = 0.0

    def __init__(self) -> None:
        self.waits: Counter[str] = Counter()


@contextmanager
def _watched() -> Iterator[_Seen]:
    """Watch some of a short training's steps."""
    seen, plain = _Seen(), Stepper.run

    def run(stepper: Stepper, engine: Engine, step: int, request: StopRequest, spike: float | None) -> StepSums:
        if step == _WATCHED:
            with _noted(seen.waits):
                return plain(stepper, engine, step, request, spike)
        if step != _RECORDED:
            return plain(stepper, engine, step, request, spike)
        began = time.perf_counter()
        with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu() else [])]) as recording:
            sums = plain(stepper, engine, step, request, spike)
            if on_gpu():
                torch.cuda.synchronize()
        seen.recording, seen.profiled_ms = recording, 1000 * (time.perf_counter() - began)
        return sums

    Stepper.run = run  # type: ignore[method-assign]
    try:
        yield seen
    finally:
        Stepper.run = plain  # type: ignore[method-assign]


@contextmanager
def _noted(waits: Counter[str]) -> Iterator[None]:
    def note(message: Warning | str, *rest: Any, **more: Any) -> None:
        if "synchroniz" in str(message):
            frames = traceback.extract_stack()[:-1]
            own = [one for one in frames if one.filename.startswith(str(ROOT)) or "deepspeed" in one.filename]
            own = [one for one in own if Path(one.filename).parent != Path(__file__).parent]
            waits[" < ".join(f"{Path(one.filename).name}:{one.lineno}" for one in reversed(own[-2:]))] += 1

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = note
        if on_gpu():
            torch.cuda.set_sync_debug_mode("warn")
        try:
            yield
        finally:
            if on_gpu():
                torch.cuda.set_sync_debug_mode("default")
