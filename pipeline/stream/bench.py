"""How fast a shard set can be read on this machine, and which part of the work takes the time."""

import os
import time
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import count

import numpy as np
import psutil

from cluster import storage
from cluster.cores import usable_cores
from pipeline.errors import ShardSetError
from pipeline.features.inputs import FRAMES, SOUND
from pipeline.features.settings import FeatureSettings
from pipeline.shards.shard_set import SamplePlace, ShardSet
from pipeline.stream.decode import decode_sample
from pipeline.stream.fields.contract import FieldSpec
from pipeline.stream.loader import Loader
from pipeline.stream.read_plan import ReadPlan, plan_reading
from pipeline.stream.settings import DataSettings
from pipeline.stream.shard_bytes import ShardBytes

_BEFORE, _BEHIND = ("order", "index", "read", "check", "parse"), ("assemble",)
"""Places of the samples in the order, of their bytes in the shards; bytes; checksum; tar and JSON. Between them the
fields, each decoded by itself; and putting a batch together."""
_CHUNK = 16
_BUSY = 0.75
"""Share of the cores that workers could use, from which on they are said to be what limits."""

_WAITING = 0.3
"""Share of a sample's time that the storage takes, from which on it may be what limits."""


@dataclass(frozen=True)
class BenchRun:
    """Reading with a number of workers.

    Attributes:
        workers: processes; 0 reads in the one that asks.
        bytes_per_s: of the samples as they lie in the shards.
        first_batch_s: from starting the workers to the first batch.
        cores: that this process and its workers kept busy, in the mean.
    """

    workers: int
    samples: int
    samples_per_s: float
    bytes_per_s: float
    first_batch_s: float
    cores: float


@dataclass(frozen=True)
class BenchReport:
    """What was measured.

    Attributes:
        sample_bytes: mean size of a sample in the shards.
        stages_ms: stage → milliseconds a sample, one after the other in one process.
        cores: of this machine that the process may use.
        advice: what limits, in a sentence.
    """

    shard_set: str
    samples: int
    sample_bytes: float
    cores: int
    stages_ms: dict[str, float]
    runs: list[BenchRun]
    advice: str


def fitting_features(url: str, features: FeatureSettings, unset: Collection[str]) -> FeatureSettings:
    """The features with the sound as long and as fast as in the shard set's first sample, where nobody said otherwise.

    Args:
        unset: names of fields that may be changed.

    Raises:
        ShardSetError: there is no such sample.
    """
    metadata = ShardSet.open(url).read(0).metadata
    there = {"audio_samples": metadata.audio_samples, "audio_rate_hz": metadata.audio_rate_hz}
    return features.model_copy(update={name: value for name, value in there.items() if name in unset and value > 0})


def bench(
    url: str,
    features: FeatureSettings,
    data: DataSettings,
    seed: int,
    augment: bool,
    batch_size: int,
    seconds: float,
    fields: Sequence[str | FieldSpec] = (FRAMES, SOUND),
) -> BenchReport:
    """Read with 0, 1, 2, 4 … workers up to the number of cores, and stage by stage in this process.

    Each goes on in the epoch where the last one stopped, so that a cache helps only where the set is small.

    Args:
        seconds: time for each.
        fields: names of what samples are decoded into.

    Raises:
        ShardSetError: there is no such shard set, or its samples can't be used.
    """
    cores = usable_cores()
    plan = plan_reading(url, features, data, seed, augment, fields=fields)
    position, stages_ms, sample_bytes = _time_stages(plan, seconds)
    runs = []
    for workers in _worker_counts(cores):
        chosen = data.model_copy(update={"workers": workers})
        plan = plan_reading(url, features, chosen, seed, augment, fields=fields)
        run, position = _run(plan, position, batch_size, seconds, sample_bytes)
        runs.append(run)
    advice = _advise(stages_ms, runs, cores, storage.is_remote(url), plan.cache is not None)
    return BenchReport(url, len(plan), sample_bytes, cores, stages_ms, runs, advice)


def _worker_counts(cores: int) -> list[int]:
    counts = [0, *(1 << power for power in range(cores.bit_length()) if 1 << power <= cores)]
    return counts if counts[-1] == cores else [*counts, cores]


def _run(plan: ReadPlan, position: int, batch_size: int, seconds: float, sample_bytes: float) -> tuple[BenchRun, int]:
    """Batches for some seconds after the first one; and the position at which to go on."""
    begun = time.perf_counter()
    with Loader(plan, batch_size) as loader:
        pieces = (range(start, start + batch_size) for start in count(position, batch_size))
        with closing(loader.batches(pieces)) as batches:
            first = next(batches)
            first_batch_s = time.perf_counter() - begun
            position, samples = position + len(first), 0
            begun, busy = time.perf_counter(), _busy_s(loader)
            for batch in batches:
                samples += len(batch)
                if time.perf_counter() - begun >= seconds:
                    break
            taken, busy = time.perf_counter() - begun, _busy_s(loader) - busy
    rate = samples / taken
    run = BenchRun(plan.data.workers, samples, rate, rate * sample_bytes, first_batch_s, busy / taken)
    return run, position + samples


def _busy_s(loader: Loader) -> float:
    """CPU time of this process and the workers so far."""
    busy = 0.0
    for pid in [os.getpid(), *loader.worker_pids]:
        try:
            times = psutil.Process(pid).cpu_times()
        except psutil.NoSuchProcess:  # a worker that died, and was replaced
            continue
        busy += times.user + times.system
    return busy


class _Stopwatch:
    def __init__(self, fields: Sequence[FieldSpec]) -> None:
        self.seconds = dict.fromkeys((*_BEFORE, *(one.name for one in fields), *_BEHIND), 0.0)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self.seconds[stage] += time.perf_counter() - begun


def _time_stages(plan: ReadPlan, seconds: float) -> tuple[int, dict[str, float], float]:
    """Samples for some seconds, one step after the other: the position reached, ms a sample, bytes a sample."""
    watch = _Stopwatch(plan.fields)
    data = ShardBytes(None) if plan.cache is None else ShardBytes(plan.cache.open(), plan.cache.opening)
    begun, position, samples, amount = time.perf_counter(), 0, 0, 0
    problem = ""
    try:
        while time.perf_counter() - begun < seconds or not samples:
            positions = range(position, position + _CHUNK)
            position = positions.stop
            with watch("order"):
                picks = plan.picks(positions)
            with watch("index"):
                found = plan.places(picks)
            places = [place for place in found if isinstance(place, SamplePlace)]
            with watch("read"):
                contents = data.begin(places)()
            for place, content in zip(places, contents, strict=True):
                if not isinstance(content, bytes):
                    problem = str(content)
                    continue
                try:
                    _time_sample(plan, watch, place, content)
                except ValueError as error:
                    problem = f"{place.url}: {error}"
                    continue
                samples += 1
                amount += len(content)
            if not samples and position >= _CHUNK * plan.data.max_bad_in_a_row:
                raise ShardSetError(f"none of the first {position} samples can be used; the last: {problem}")
    finally:
        data.close()
    return position, {name: 1000 * spent / samples for name, spent in watch.seconds.items()}, amount / samples


def _time_sample(plan: ReadPlan, watch: _Stopwatch, place: SamplePlace, content: bytes) -> None:
    """One sample through the stages after reading.

    Raises:
        ValueError: it can't be decoded.
    """
    with watch("check"):
        if place.crc32 is not None:
            zlib.crc32(content)
    with watch("parse"):
        sample = plan.sets[0].parse(replace(place, crc32=None), content)
    for field in plan.fields:
        with watch(field.name):
            decoded = decode_sample(sample, (field,)).arrays[field.name]
        with watch("assemble"):
            np.empty_like(decoded)[:] = decoded


def _advise(stages_ms: dict[str, float], runs: list[BenchRun], cores: int, remote: bool, cached: bool) -> str:
    best = max(runs, key=lambda run: run.samples_per_s)
    limit = min(cores, max(1, best.workers))
    slowest = max(stages_ms, key=lambda name: stages_ms[name])
    share = stages_ms[slowest] / sum(stages_ms.values())
    found = (
        f"{best.samples_per_s:.0f} samples/s with {best.workers} workers keep {best.cores:.1f} of {cores} cores busy"
    )
    if best.cores >= _BUSY * limit:
        return f"{found}: the processor is what limits; {slowest} takes {share:.0%} of the work."
    waiting = (stages_ms["read"] + stages_ms["index"]) / sum(stages_ms.values())
    if waiting < _WAITING:
        return f"{found}: decoding is what limits, and other programs take a part of the processor."
    if not remote:
        return f"{found}: the disk is what limits; more data.workers or a larger data.prefetch hide some of its delay."
    if not cached:
        return f"{found}: the storage is what limits; with a larger data.cache.gigabytes whole stretches are fetched."
    return f"{found}: the storage is what limits; later epochs come from the cache as far as it reaches."
