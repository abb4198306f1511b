"""Samples/s that this machine's cores read, decode and bring to the GPU, and augment there, of G-AVTc's samples."""

import os
import shutil
import time
from pathlib import Path

import torch

from _realistic_samples import write_realistic
from findings import Findings
from pipeline.stream.ahead import Ahead
from pipeline.stream.device_copy import DeviceCopy
from pipeline.stream.loader import Loader
from pipeline.stream.read_plan import plan_reading
from pipeline.stream.settings import DataSettings
from pipeline.stream.steps import steps_of
from short_training import on_gpu, settings_of

_BATCH = 64


def check(findings: Findings) -> None:
    device = torch.device("cuda", 0) if on_gpu() else torch.device("cpu")
    cores, samples = len(os.sched_getaffinity(0)), 128 if findings.rehearses else 2048
    folder = Path(f"/dev/shm/gavt-gpu-samples-{os.getpid()}")
    features = settings_of("gavt_c").features
    try:
        write_realistic(folder, samples)
        for workers in [1] if findings.rehearses else sorted({1, cores // 2, cores}):
            if not findings.has_time(6, f"{workers} workers"):
                continue
            with findings.judged(f"{workers} workers") as found:
                plan = plan_reading(str(folder), features, DataSettings(workers=workers, prefetch=4), 0, augment=True)
                steps = min(samples * (1 if workers == 1 else 4), 2400 * workers) // _BATCH
                with (
                    Loader(plan, _BATCH, device) as loader,
                    Ahead(
                        map(DeviceCopy(device), loader.batches(steps_of(plan, 0, steps, _BATCH, _BATCH))),
                        loader.interrupt,
                    ) as batches,
                ):
                    first = next(batches)  # when all has started
                    first.inputs(device)
                    began = time.perf_counter()
                    seen = sum(len(batch.keys) for batch in batches if batch.inputs(device))
                    if on_gpu():
                        torch.cuda.synchronize()
                    rate = seen / (time.perf_counter() - began)
                found |= {"samples_per_s": round(rate, 1), "per_worker": round(rate / workers, 1)}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
