"""A job whose processes are killed at random, over storage that fails, shows exactly what was planned.

`CHAOS_SEED` chooses other kills.
"""

import os
import signal
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pytest
from chaos_job import CacheWatch, ChaosJob
from chaos_rank import SEED, Job, crc_of, data_settings, features

from cluster import storage
from faulty_proxy import FaultyProxy
from jobs.local.s3 import S3Server
from pipeline.stream.decode import decode_sample
from pipeline.stream.randomness import keyed_generator
from pipeline.stream.read_plan import plan_reading
from pipeline.stream.settings import CacheSettings
from tiny_shards import write_shard_set

SHARD = 16
BATCH = 60


@dataclass(frozen=True)
class Damage:
    """Samples that went bad between two times (`time.time`)."""

    samples: frozenset[int]
    begun: float
    done: float


class Damager:
    """Spoils shards on the server."""

    def __init__(self, local: Path, url: str) -> None:
        self.damages: list[Damage] = []
        self._local = local
        self._url = url

    def delete(self, shard: int) -> None:
        begun = time.time()
        storage.remove(f"{self._url}/shard-{shard:06d}.tar")
        self._note(range(shard * SHARD, (shard + 1) * SHARD), begun)

    def lose_index(self, shard: int) -> None:
        begun = time.time()
        storage.remove(f"{self._url}/shard-{shard:06d}.json")
        self._note(range(shard * SHARD, (shard + 1) * SHARD), begun)

    def flip(self, shard: int, samples: range) -> None:
        """Change a byte of some samples; the shard is another version then, and the others are still good."""
        name = f"shard-{shard:06d}"
        content = bytearray((self._local / f"{name}.tar").read_bytes())
        for place in [storage.read_json(self._local / f"{name}.json")["samples"][sample] for sample in samples]:
            content[place["offset"] + 600] ^= 0x55
        begun = time.time()
        storage.write_bytes(f"{self._url}/{name}.tar", bytes(content))
        self._note([shard * SHARD + sample for sample in samples], begun)

    def _note(self, samples: "range | list[int]", begun: float) -> None:
        self.damages.append(Damage(frozenset(samples), begun, time.time()))


class Plan:
    """What each position has to show, made from the whole shard set without a loader."""

    def __init__(self, local: Path) -> None:
        self._plan = plan_reading(str(local), features(), data_settings(CacheSettings(), 0), SEED, augment=True)
        self.order = self._plan.orders[0]
        self.crc = lru_cache(None)(self._crc)

    def allowed(self, position: int, damages: list[Damage], started: float, noted: float) -> dict[tuple[str, int], int]:
        """Key and number of bad ones that it stands in for, to the sample, of all that a process that was started and
        has noted it at these times may show there."""
        bad = frozenset[int]().union(*(one.samples for one in damages if one.done < started))
        doubtful = frozenset[int]().union(*(one.samples for one in damages if one.begun < noted)) - bad
        epoch, place = divmod(position, len(self.order))
        sample, attempt, found = int(self.order.samples_at(epoch, [place])[0]), 0, {}
        while sample in bad or sample in doubtful:
            if sample in doubtful:
                found[f"video{sample}-000", attempt] = sample
            attempt += 1
            sample = self.order.stand_in(epoch, place, attempt)
        return found | {(f"video{sample}-000", attempt): sample}

    def _crc(self, position: int, sample: int) -> int:
        generator = keyed_generator(SEED, "square", position)
        square, moment = float(generator.random()), float(generator.random())
        decoded = decode_sample(self._plan.sets[0].read(sample), self._plan.fields, square, moment)
        return crc_of(decoded.arrays["frames"], decoded.arrays["sound"])


def check(job: ChaosJob, plan: Plan, damages: list[Damage]) -> dict[str, int]:
    """Every position was shown exactly once, by what was planned or what stands in for it; what was shown again was
    the same."""
    counts: dict[str, int] = defaultdict(int)
    shown: list[int] = []
    for stretch in job.stretches:
        for life, line, counted in stretch.lines():
            counts["shown"] += len(line.positions)
            for position, key, bad, crc in zip(line.positions, line.keys, line.bad, line.crcs, strict=True):
                allowed = plan.allowed(position, damages, life.started, line.time)
                assert (key, bad) in allowed, f"position {position}: {key} for {bad} bad ones, expected {allowed}"
                assert crc == plan.crc(position, allowed[key, bad]), f"position {position}: other tensors of {key}"
                counts["replaced"] += bad > 0
                counts["either"] += len(allowed) > 1
            if counted:
                shown += line.positions
    assert sorted(shown) == list(range(job.stretches[-1].end * BATCH))
    counts["positions"] = len(shown)
    return counts


def upload(local: Path, url: str) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda path: storage.upload(path, f"{url}/{path.name}"), local.iterdir()))


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[FaultyProxy]:
    """A proxy that spoils 5 % of the requests."""
    with FaultyProxy(s3_server.endpoint, share=0.05) as running:
        yield running


def chaos_job(
    folder: Path, url: str, proxy: FaultyProxy, gigabytes: float, workers: int, step_s: float, seed: int
) -> ChaosJob:
    job = Job(url, str(folder / "cache"), gigabytes, workers, 0, 1, BATCH, step_s, "", "", str(folder / "goal"))
    environment = os.environ | {"AWS_ENDPOINT_URL": proxy.url, "GAVT_STORAGE_PATIENCE_S": "60"}
    return ChaosJob(folder, job, environment, seed)


def assert_nothing_is_left(job: ChaosJob, shared: set[str]) -> None:
    until = time.monotonic() + 15
    while job.left() and time.monotonic() < until:
        time.sleep(0.1)
    assert job.left() == []
    assert not {name for name in set(os.listdir("/dev/shm")) - shared if "gavt" in name or name.startswith("torch_")}


def run(
    folder: Path,
    s3: str,
    proxy: FaultyProxy,
    samples: int,
    worlds: Sequence[int],
    workers: int,
    step_s: float,
    kills: int,
    stops: Sequence[int] = (),
) -> None:
    """The whole run.

    Args:
        worlds: of the jobs that follow each other, numbers of ranks.
        workers: of a rank; after it was killed maybe one more or less.
        step_s: least time of a step.
        kills: in all of them together.
        stops: after so many kills a worker is stopped, which stands still then until it is replaced.
    """
    seed = int(os.environ.get("CHAOS_SEED", "1"))
    begun, shared = time.monotonic(), set(os.listdir("/dev/shm"))
    local, url = write_shard_set(folder / "shards", samples, SHARD), f"{s3}/set"
    upload(local, url)
    damager, shards = Damager(local, url), samples // SHARD
    damager.delete(1)
    damager.flip(2, range(3, 6))
    gigabytes = sum(path.stat().st_size for path in local.glob("*.tar")) / 2e9
    job = chaos_job(folder, url, proxy, gigabytes, workers, step_s, seed)
    events = {
        kills // 4: lambda: damager.delete(shards - 1),
        kills // 2: lambda: damager.flip(shards - 2, range(0, 5)),
        kills * 3 // 4: lambda: damager.lose_index(shards - 3),
    } | dict.fromkeys(stops, job.stop_one)
    try:
        with CacheWatch(folder / "cache") as watch:
            done = 0
            for number, world_size in enumerate(worlds):
                job.begin(world_size)
                while done < kills * (number + 1) // len(worlds):
                    events.pop(done, lambda: None)()
                    done += job.kill_one()
                    time.sleep(job.random.uniform(0.2, 1.0))
                job.wait_for_all()
                if number < len(worlds) - 1:
                    job.stop(job.random.choice([signal.SIGTERM, signal.SIGKILL]))
            codes = job.finish()
        assert codes == [0] * worlds[-1]
        assert_nothing_is_left(job, shared)
    finally:
        job.close()
    ran_s = time.monotonic() - begun
    assert watch.most <= gigabytes * 1e9
    assert watch.looks > 10
    counts = check(job, Plan(local), damager.damages)
    assert counts["replaced"] > 0
    assert set(proxy.counts) == {"passed", *proxy.kinds}
    print(
        f"\nseed {seed}: {ran_s:.0f} s, {counts['positions']} positions ({counts['positions'] / samples:.1f} epochs), "
        f"{len(worlds)} jobs of {worlds} ranks, {counts['shown']} shown, {counts['replaced']} replaced, "
        f"{counts['either']} in doubt; {dict(job.counts)}; cache at most {watch.most / 1e6:.1f} of "
        f"{gigabytes * 1e3:.1f} MB in {watch.looks} looks; {dict(proxy.counts)}"
    )


@pytest.mark.slow
def test_a_job_whose_processes_are_killed_shows_what_was_planned(
    s3_bucket: str, proxy: FaultyProxy, tmp_path: Path
) -> None:
    run(tmp_path, s3_bucket, proxy, samples=320, worlds=[2], workers=1, step_s=0.2, kills=3)


@pytest.mark.slow
def test_a_hundred_kills_three_numbers_of_ranks_and_shards_that_vanish(
    s3_bucket: str, proxy: FaultyProxy, tmp_path: Path
) -> None:
    run(tmp_path, s3_bucket, proxy, samples=1200, worlds=[3, 2, 5, 3], workers=2, step_s=0.1, kills=100, stops=[33, 67])
