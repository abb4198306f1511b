"""Versions, imports, what the card is, and the rates that everything else is compared with."""

import importlib
import importlib.metadata
import os
import statistics
import time
from collections.abc import Callable

import torch

from findings import Findings
from pipeline.models.peak_flops import known_gpu
from short_training import group, on_gpu

_PACKAGES = (
    *("torch", "torchaudio", "torchvision", "triton", "deepspeed", "numpy", "pydantic", "av", "fsspec", "safetensors"),
    *("pytest", "gavt"),
)
_MODULES = (
    *("jobs.verbs", "jobs.train", "jobs.plan", "jobs.evaluate", "pipeline.plan.plan", "pipeline.stream.loader"),
    *("pipeline.train.loop", "pipeline.train.dry_run", "pipeline.evaluate.evaluate"),
    *("pipeline.evaluate.training_maps", "deepspeed"),
)


def check(findings: Findings) -> None:
    versions = {name: _version(name) for name in _PACKAGES}
    findings.say("versions", cores=os.cpu_count(), cuda=torch.version.cuda, **versions)
    device = group().device  # which tells DeepSpeed what to compute on, before its import
    for name in _MODULES:
        with findings.judged(f"import {name}") as found:
            importlib.import_module(name)
            found["ok"] = True
    if on_gpu():
        card = torch.cuda.get_device_properties(device)
        known = known_gpu(card.name)
        gib = round(card.total_memory / 2**30, 2)
        right = known is not None and abs(known.memory_gib - gib) < 2
        findings.say("card", right, name=card.name, gib=gib, known_gib=known and known.memory_gib)
        # above 50 %, what is compared with the data sheet's peak makes sense
        tera = _matmul_tflops(device)
        findings.say("matrices", None if known is None else tera * 1e12 > 0.5 * known.bf16 * 1e12, bf16_tflops=tera)
    findings.say("copies", **_copy_rates(device, 1 << 20 if findings.rehearses else 1 << 28))


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _matmul_tflops(device: torch.device, side: int = 8192) -> float:
    one, other = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    return round(2 * side**3 / _seconds(lambda: one @ other) / 1e12, 1)


def _copy_rates(device: torch.device, size: int) -> dict[str, float]:
    """GB/s from memory of the host to the device, and on it (read and written)."""
    there = torch.empty(size, dtype=torch.uint8, device=device)
    other, plain = torch.empty_like(there), torch.zeros(size, dtype=torch.uint8)
    rates = {"pageable": _seconds(lambda: there.copy_(plain)), "on_device": _seconds(lambda: other.copy_(there)) / 2}
    if on_gpu():
        pinned = plain.pin_memory()
        rates["pinned"] = _seconds(lambda: there.copy_(pinned, non_blocking=True))
    return {f"{name}_gb_s": round(size / seconds / 1e9, 1) for name, seconds in rates.items()}


def _seconds(work: Callable[[], object], repeats: int = 7) -> float:
    """Of one of them, in the median, the device waited for."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        if on_gpu():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return statistics.median(times[2:])
