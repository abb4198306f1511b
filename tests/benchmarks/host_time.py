"""What the training thread does itself in a step, besides having the engine compute: the time for which a GPU that has
done its work would wait."""

import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cluster.process_group import ProcessGroup
from pipeline.experiment import ExperimentSettings
from pipeline.settings.load import load_settings
from pipeline.stream.arrays import noise_of
from pipeline.stream.batch import Batch, take_batch
from pipeline.stream.fields.registry import fields_of
from pipeline.stream.reader import Note
from pipeline.train.micro_batches import MicroBatches, prepared
from pipeline.train.step import Stepper, StopRequest
from pipeline.train.system import noise_metadata, system_without_memory
from result import Result

CONFIGS = Path(__file__).parents[2] / "configs/experiments"
MOST_MS = {("gavt_c", 256): 2.0, ("gavt_base", 64): 1.0}
"""Experiment and micro-batch → limit."""
SMALL = ("frame_size=16", "audio_samples=4095", "stft_frame=254", "frequency_bins=32")
STEPS, WARM_UP = 60, 10


class Idle:
    """In the place of an engine: computes nothing."""

    def __init__(self, system: Any, sums: int) -> None:
        self.module, self._sums = system, sums
        self.was_applied = True

    def forward(self, inputs: dict[str, Tensor], targets: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """A loss and sums."""
        return torch.zeros(()), torch.zeros(self._sums, dtype=torch.float64)

    def nothing(self, *_: Any) -> None:
        """Neither backward, nor a step, nor a rate."""

    set_learning_rate = backward = step = follow = nothing


class Still:
    """In the place of a watchdog, whose beat is an assignment."""

    def beat(self, phase: str, step: int) -> None:
        """Note it."""
        self.place = (phase, step)


def run() -> list[Result]:
    """CPU time of the thread, a step: median of many. One small sample is augmented in the place of the micro-batch,
    which costs about what launching on a GPU does; on one thread, as it would otherwise wait actively for others."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [_measure(name, samples, most) for (name, samples), most in MOST_MS.items()]
    finally:
        torch.set_num_threads(threads)


def _measure(name: str, samples: int, most_ms: float) -> Result:
    words = [f"train.batch_size={samples}", f"train.micro_batch={samples}", *(f"features.{word}" for word in SMALL)]
    settings = load_settings(str(CONFIGS / f"{name}.yaml"), ExperimentSettings, words).settings
    system = system_without_memory(settings)
    group = ProcessGroup(0, 0, 1, torch.device("cpu"))
    prepare = prepared(system.task, settings.seed, "train", group.device)
    engine, times = Idle(system, len(settings.task.sums)), []
    with MicroBatches(map(prepare, _noise(settings, samples))) as batches:
        stepper = Stepper(settings, samples, group, batches, Still())
        for step in range(WARM_UP + STEPS):
            batches.has_more()
            begun = time.thread_time()
            stepper.run(engine, step, StopRequest(), None)
            times.append(1000 * (time.thread_time() - begun))
    figure = median(times[WARM_UP:])
    return Result(f"host time, {name} at {samples}", figure, "ms", most_ms, figure <= most_ms, "the thread's CPU time")


def _noise(settings: ExperimentSettings, samples: int) -> Iterator[Batch]:
    """What was read of so many samples, with the arrays of one, at other positions each time."""
    fields = fields_of(settings.features, settings.fields, augment=True)
    arrays = noise_of(fields, 1, settings.features.augment, np.random.default_rng(0))
    notes = [Note(f"{at}", noise_metadata(settings.features, at).model_dump_json()) for at in range(samples)]
    batch = replace(take_batch(range(1), notes[:1], fields, arrays, augment=True), notes=notes)
    for begin in count(0, samples):
        yield replace(batch, positions=list(range(begin, begin + samples)))
