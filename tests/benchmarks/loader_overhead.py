"""What the loader adds to a step of the smallest G-AVT, and its memory over fifty epochs."""

import os
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from statistics import median

import psutil
import torch

from _realistic_samples import write_realistic
from pipeline.experiment import ExperimentSettings
from pipeline.settings.load import load_settings
from pipeline.stream.batch import Batch
from pipeline.stream.loader import Loader
from pipeline.stream.read_plan import plan_reading
from pipeline.stream.worker_pool import WorkerPool
from pipeline.train.load import untrained
from result import Result

CONFIG = Path(__file__).parents[2] / "configs/experiments/claims_small.yaml"
BLOCKS = 5
STEPS = 12
"""Timed of each block; as many batches as lie ready are used up before, so that what is timed is also read."""
MOST_ADDED = 0.01
EPOCHS = 50
SMALL_SET = 512
MOST_GROWTH = 1.02
FRAME_SIDE = 128
"""Of the quickstart's world."""


def run() -> list[Result]:
    """Steps with the loader and steps with batches in memory, in turns in one process, with two workers: where training
    leaves a core to the loader, as beside a GPU, and where it takes all, so that decoding costs what it takes. Then
    fifty epochs of a small set without training, and the memory of the process with its workers."""
    return measure(BLOCKS, STEPS, EPOCHS)


def measure(blocks: int, steps: int, epochs: int) -> list[Result]:
    """The same of any length."""
    settings = load_settings(str(CONFIG), ExperimentSettings).settings
    with tempfile.TemporaryDirectory(prefix="gavt-") as folder:
        shards = write_realistic(Path(folder) / "shards", SMALL_SET, 128, FRAME_SIDE, settings.features.audio_samples)
        found = {}
        threads = torch.get_num_threads()
        for name, used in (("loader_overhead", max(1, threads - 1)), ("loader_overhead no core free", threads)):
            torch.set_num_threads(used)
            found[name] = _time_steps(settings, str(shards), blocks, steps)
        early_mb, late_mb = _memory(settings, str(shards), epochs)
    growth = late_mb / early_mb
    results = []
    for name, (streamed, kept, waited) in found.items():
        peer = f"the same step with batches in memory: {kept * 1000:.1f} ms; waiting for data {waited:.2%} of the time"
        added = streamed / kept - 1
        results.append(Result(name, added, "", MOST_ADDED, added <= MOST_ADDED, peer))
    flat = f"after {max(1, epochs // 10)} epochs {early_mb:.1f} MB, after {epochs} {late_mb:.1f} MB, workers included"
    return [*results, Result("loader_overhead memory", growth, "", MOST_GROWTH, growth <= MOST_GROWTH, flat)]


def _time_steps(settings: ExperimentSettings, shards: str, blocks: int, steps: int) -> tuple[float, float, float]:
    """Median seconds of a step with the loader and without, and the share of time that the first waited for data."""
    system = untrained(settings, "cpu", settings.seed).train()
    optimizer = torch.optim.AdamW(system.parameters(), lr=settings.train.learning_rate)
    size = settings.train.batch_size
    ready = settings.data.prefetch + 1

    def step(batch: Batch) -> None:
        targets = system.task.targets(settings.seed, batch.positions, batch.metadata, "train")
        loss, _ = system(batch.inputs("cpu"), targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    def times(batches: Iterator[Batch]) -> list[float]:
        found = []
        for _ in range(steps):
            begun = time.perf_counter()
            step(next(batches))
            found.append(time.perf_counter() - begun)
        return found

    plan = plan_reading(shards, settings.features, settings.data, settings.seed, augment=True)
    streamed: list[float] = []
    kept: list[float] = []
    waited_s = 0.0
    with (
        WorkerPool(settings.data.workers, settings.data.deadline_s) as pool,
        Loader(plan, size, pool=pool) as loader,
    ):
        stream = loader.batches(range(start, start + size) for start in count(0, size))
        in_memory = [next(stream) for _ in range(4)]
        for batch in in_memory:
            step(batch)
        for _ in range(blocks):
            for _ in range(ready):
                step(next(stream))
            before = loader.waited_s
            streamed += times(stream)
            waited_s += loader.waited_s - before
            time.sleep(1)  # the workers fill what is free, and rest
            kept += times(in_memory[at % len(in_memory)] for at in count())
        stream.close()
    return median(streamed), median(kept), waited_s / sum(streamed)


def _memory(settings: ExperimentSettings, shards: str, epochs: int) -> tuple[float, float]:
    """MB after a tenth of the epochs, and at the end."""
    plan = plan_reading(shards, settings.features, settings.data, settings.seed, augment=True)
    size, found = settings.train.batch_size, []
    with Loader(plan, size) as loader:
        for epoch in range(epochs):
            begin = epoch * len(plan)
            for batch in loader.batches(range(at, at + size) for at in range(begin, begin + len(plan), size)):
                if batch.replaced:
                    raise RuntimeError(f"{batch.replaced} samples were bad")
            if epoch + 1 in (max(1, epochs // 10), epochs):
                pids = [os.getpid(), *loader.worker_pids]
                # shared pages are counted once, by halves
                found.append(sum(psutil.Process(pid).memory_full_info().pss for pid in pids) / 1e6)
    return found[0], found[-1]
