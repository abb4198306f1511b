"""What it takes to feed a run: cores that read and decode, and memory for batches on their way."""

import time
from dataclasses import dataclass

from cluster import storage
from pipeline.stream.ahead import READY
from pipeline.stream.settings import ShardSource
from pipeline.train.run_settings import RunSettings

_CHUNK = 16
_MEASURED_S = 0.3


@dataclass(frozen=True)
class Feeding:
    """Cores and memory.

    Attributes:
        core_samples_per_s: that a core reads and decodes; None where it isn't known.
        is_measured: whether this machine was found to, on the first samples of data.train.
        cores: that each GPU needs, at the run's pace; None where one of the two isn't known.
        slots_bytes: of each process's memory that batches are read into, pinned where there is a GPU.
    """

    core_samples_per_s: float | None
    is_measured: bool
    cores: float | None
    slots_bytes: int


def plan_feeding(
    settings: RunSettings, sample_bytes: int, micro_batch: int, gpu_samples_per_s: float | None, given: float | None
) -> Feeding:
    """Of one GPU.

    Args:
        sample_bytes: of a sample's inputs as they are decoded.
        gpu_samples_per_s: what it trains on; None where that isn't known.
        given: samples that a core decodes a second; measured unless given, where data.train lies on this machine.

    Raises:
        ShardSetError: data.train is damaged.
    """
    rate = given or measured_rate(settings)
    cores = gpu_samples_per_s / rate if rate and gpu_samples_per_s else None
    slots = settings.data.slots * micro_batch * sample_bytes if settings.data.workers else 0
    return Feeding(rate, given is None and rate is not None, cores, slots)


def bytes_ahead(sample_bytes: int, micro_batch: int) -> int:
    """Of a GPU: the micro-batches that are ready on it, and the one that is on its way."""
    return (READY + 1) * sample_bytes * micro_batch


def measured_rate(settings: RunSettings) -> float | None:
    """Samples of data.train that a core of this machine reads and decodes a second, by the CPU time of some; None where
    they don't lie here, or aren't finished.

    Raises:
        ShardSetError: they can't be used.
    """
    train = settings.data.train
    sources = [] if train is None else [ShardSource(url=train)] if isinstance(train, str) else train
    urls = [source.url for source in sources]
    if not urls or any(storage.is_remote(url) or not storage.exists(storage.join(url, "dataset.json")) for url in urls):
        return None
    from pipeline.stream.arrays import Arrays
    from pipeline.stream.read_plan import plan_reading
    from pipeline.stream.reader import SampleReader

    plan = plan_reading(sources, settings.features, settings.data, settings.seed, augment=True, fields=settings.fields)
    reader, arrays = SampleReader(plan), Arrays.of(plan.fields, _CHUNK)
    try:
        reader.read(range(_CHUNK), arrays)  # the first is slower
        begun, position = time.thread_time(), _CHUNK
        while (taken := time.thread_time() - begun) < _MEASURED_S:
            reader.read(range(position, position + _CHUNK), arrays)
            position += _CHUNK
    finally:
        reader.close()
    return (position - _CHUNK) / taken
