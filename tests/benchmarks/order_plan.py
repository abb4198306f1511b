"""The order of a hundred million samples: every position of an epoch, on one core; time and memory."""

import os
import subprocess
import sys
from pathlib import Path

from result import Result

SHARDS = 100_000
SAMPLES_PER_SHARD = 1000
LIMIT_S = 5.0
LIMIT_MB = 500.0
_OURS = """
import os, sys, time
import numpy as np
from cluster.isolation import peak_resident_mb
from pipeline.stream.order import Order
from pipeline.stream.settings import DataSettings
shards, per_shard = int(sys.argv[1]), int(sys.argv[2])
data = DataSettings()
begun = time.perf_counter()
order = Order(np.full(shards, per_shard), 0, data.block_samples, data.lanes)
for start in range(0, len(order), 1 << 18):
    order.samples_at(1, range(start, min(start + (1 << 18), len(order))))
taken, peak = time.perf_counter() - begun, peak_resident_mb(os.getpid())
seen = np.zeros(len(order), dtype=bool)
for start in range(0, len(order), 1 << 18):
    seen[order.samples_at(1, range(start, min(start + (1 << 18), len(order))))] = True
print(int(seen.sum()), taken, peak)
"""
_PLAIN = """
import os, sys, time
import numpy as np
from cluster.isolation import peak_resident_mb
samples = int(sys.argv[1]) * int(sys.argv[2])
begun = time.perf_counter()
order = np.random.default_rng(0).permutation(samples)
print(len(order), time.perf_counter() - begun, peak_resident_mb(os.getpid()))
"""


def run() -> list[Result]:
    """Planned as a whole, in pieces of a quarter million; looked through afterwards: each sample comes once."""
    samples = SHARDS * SAMPLES_PER_SHARD
    seconds, megabytes = _plan(_OURS, samples)
    plain_s, plain_mb = _plan(_PLAIN, samples)
    peer = f"numpy's permutation of {samples} numbers: {plain_s:.1f} s, {plain_mb:.0f} MB"
    return [
        Result("order_plan", seconds, "s", LIMIT_S, seconds <= LIMIT_S, peer),
        Result("order_plan memory", megabytes, "MB", LIMIT_MB, megabytes <= LIMIT_MB, peer),
    ]


def _plan(program: str, samples: int) -> tuple[float, float]:
    """Seconds, and the peak memory of the process in MB."""
    core = min(os.sched_getaffinity(0))
    command = [sys.executable, "-c", program, str(SHARDS), str(SAMPLES_PER_SHARD)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    found, seconds, megabytes = done.stdout.split()
    if int(found) != samples:
        raise RuntimeError(f"expected each of {samples} samples once, found {found} different ones")
    return float(seconds), float(megabytes)
