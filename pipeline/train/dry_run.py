"""A few training steps on noise: does everything that is built from the settings go together, and how large is it?"""

import math
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import count

import numpy as np
import torch

from cluster.process_group import ProcessGroup
from cluster.scratch import scratch_folder
from pipeline.models.build import build_on
from pipeline.models.recompute import set_checkpointing
from pipeline.stream.arrays import noise_of
from pipeline.stream.batch import Batch, take_batch
from pipeline.stream.fields.registry import fields_of
from pipeline.stream.reader import Note
from pipeline.train.engine.build import build_engine, choose_kernels
from pipeline.train.engine.deepspeed_settings import micro_batch_of
from pipeline.train.engine.ema import Ema
from pipeline.train.engine.memory import memory_in_use
from pipeline.train.flops import Utilisation
from pipeline.train.health.watchdog import Watchdog
from pipeline.train.micro_batches import MicroBatches, prepared
from pipeline.train.run_settings import RunSettings
from pipeline.train.start_from import Source, find_source, start_from
from pipeline.train.step import Stepper, StopRequest
from pipeline.train.system import build_system, noise_metadata, system_without_memory

_WARM_UP = 2
"""Steps that are no measure of speed: memory is found and blocks are compiled in them."""


@dataclass(frozen=True)
class DryRun:
    """What the steps showed.

    Attributes:
        micro_batch: samples a process at once.
        accumulated: micro-batches a step.
        losses: of each step.
        finite: whether they are, and the gradients with which the weights were changed.
        seconds: of each step; the first two warm up.
        samples_per_s: of the job, by the median of the others; None where there are no others.
        mfu: model FLOPs utilisation at that pace, 0–1; None where it or the device's peak is not known.
        memory_gib: the most that a process had, as in the run's metrics; the largest of all.
        started_from: what was taken of the weights that `train.start_from` names; None where it names none.
    """

    device: str
    processes: int
    parameters: int
    micro_batch: int
    accumulated: int
    losses: list[float]
    finite: bool
    seconds: list[float]
    samples_per_s: float | None
    mfu: float | None
    memory_gib: float
    started_from: str | None


def dry_run(settings: RunSettings, group: ProcessGroup, steps: int = 2) -> DryRun:
    """Build what training builds and do some steps; no shard set is read and no run folder written. Every process of
    the job calls it.

    Raises:
        SettingsError: settings that don't go together.
    """
    choose_kernels(settings.train, group.device.type == "cuda")
    micro_batch = micro_batch_of(settings.train, group.world_size, settings.task)
    source = group.on_main(lambda: _checked_source(settings))
    task = system_without_memory(settings).task  # for what it does on the host
    system = build_on(group.device, settings.seed, lambda: build_system(settings))
    parameters = sum(parameter.numel() for parameter in system.parameters())
    set_checkpointing(system, settings.train.recomputed)
    started_from = None if source is None else start_from(system, source, settings.train).said()
    engine = build_engine(system, settings.train, micro_batch, group)
    ema = None if settings.train.ema_decay is None else Ema(engine, settings.train.ema_decay)
    engine.train()
    with ExitStack() as stack:
        folder = group.on_main(lambda: stack.enter_context(scratch_folder("gavt-dry-run-")))
        stack.callback(group.barrier)  # everyone is done with it
        watchdog = stack.enter_context(Watchdog(folder, group, settings.train.health.hang_s))
        prepare = prepared(task, settings.seed, "example", group.device)
        batches = stack.enter_context(MicroBatches(map(prepare, _noise(settings, micro_batch, group))))
        stepper = Stepper(settings, micro_batch, group, batches, watchdog)
        losses, seconds, applied = [], [], []
        for step in range(steps):
            started = time.perf_counter()
            sums = stepper.run(engine, step, StopRequest(), None)  # which waits for the device
            if ema is not None and sums.applied:
                ema.update(engine)
            seconds.append(time.perf_counter() - started)
            losses.append(sums.loss_total / sums.loss_count if sums.loss_count else math.nan)
            applied.append(sums.applied)
    memory = max(group.gather_objects(memory_in_use(group.device)["memory_gib"]))
    pace = settings.train.batch_size / statistics.median(seconds[_WARM_UP:]) if steps > _WARM_UP else None
    engine.destroy()
    return DryRun(
        device=torch.cuda.get_device_name(group.device) if group.device.type == "cuda" else "CPU",
        processes=group.world_size,
        parameters=parameters,
        micro_batch=micro_batch,
        accumulated=settings.train.batch_size // (micro_batch * group.world_size),
        losses=losses,
        # a scale of fp16 that is too high at first is no fault of the run
        finite=all(map(math.isfinite, losses)) and (all(applied) or settings.train.precision == "fp16"),
        seconds=seconds,
        samples_per_s=pace,
        mfu=None if pace is None else Utilisation(settings, group).of(pace).get("mfu"),
        memory_gib=memory,
        started_from=started_from,
    )


def _checked_source(settings: RunSettings) -> Source | None:
    system_without_memory(settings)  # which says whether all names fit
    return find_source(settings.train.start_from)


def _noise(settings: RunSettings, micro_batch: int, group: ProcessGroup) -> Iterator[Batch]:
    """Micro-batches without end, on the device, as the loader would give them. All are the same noise at other
    positions: what is measured is training, not the making of noise."""
    features = settings.features
    fields = fields_of(features, settings.fields, augment=True)
    arrays = noise_of(fields, micro_batch, features.augment, np.random.default_rng([settings.seed, group.rank]))
    first = range(group.rank * micro_batch, (group.rank + 1) * micro_batch)
    notes = [Note(f"noise{at}", noise_metadata(features, at).model_dump_json()) for at in first]
    batch = take_batch(first, notes, fields, arrays, augment=True).to(group.device)
    for round_ in count():
        yield replace(batch, positions=[at + round_ * micro_batch * group.world_size for at in first])
