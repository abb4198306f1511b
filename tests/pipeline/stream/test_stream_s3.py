"""Shard sets on a real S3 server: the same batches as from a local disk, from the cache or not, whatever vanishes."""

import logging
import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import s3fs
import torch

from cluster import storage
from cluster.errors import UserError
from faulty_proxy import FaultyProxy
from jobs.local.s3 import S3Server
from pipeline.features.settings import FeatureSettings
from pipeline.stream import cache_plan
from pipeline.stream.batch import Batch
from pipeline.stream.loader import Loader
from pipeline.stream.read_plan import ReadPlan, plan_reading
from pipeline.stream.settings import CacheSettings, DataSettings
from pipeline.stream.steps import steps_of
from tiny_shards import FEATURES, write_shard_set

SAMPLES, SHARD, BATCH = 96, 16, 8
EPOCH = SAMPLES // BATCH
SHARDS = SAMPLES // SHARD


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shard_set(tmp_path_factory.mktemp("shards"), SAMPLES, SHARD)


@pytest.fixture(scope="module")
def remote(local: Path, s3_server: S3Server) -> str:
    """The same shard set on S3."""
    keys = {"key": s3_server.access_key, "secret": s3_server.secret_key}
    s3fs.S3FileSystem(**keys, endpoint_url=s3_server.endpoint, skip_instance_cache=True).mkdir("test-streaming")
    return upload(local, "s3://test-streaming/set")


@pytest.fixture
def spoilt(local: Path, s3_bucket: str) -> str:
    """One more, for a test that spoils it."""
    return upload(local, f"{s3_bucket}/set")


def upload(local: Path, url: str) -> str:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda path: storage.upload(path, f"{url}/{path.name}"), local.iterdir()))
    return url


@pytest.fixture
def proxy(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """A proxy that all requests go through; good ones unless told otherwise."""
    with FaultyProxy(s3_server.endpoint, share=0, slow_s=60) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
        yield running


@pytest.fixture
def cache(tmp_path: Path) -> CacheSettings:
    return CacheSettings(folder=str(tmp_path / "cache"), gigabytes=0.1)


NO_CACHE = CacheSettings(gigabytes=0)


def plan_of(url: str | Path, cache: CacheSettings = NO_CACHE, workers: int = 0, nodes: int = 1) -> ReadPlan:
    data = DataSettings(workers=workers, block_samples=48, lanes=2, prefetch=2, cache=cache)
    return plan_reading(str(url), FeatureSettings.model_validate(FEATURES), data, seed=3, augment=True, nodes=nodes)


def read(url: str | Path, cache: CacheSettings = NO_CACHE, workers: int = 0, steps: int = EPOCH) -> list[Batch]:
    with Loader(plan_of(url, cache, workers), BATCH) as loader:
        return list(loader.batches(steps_of(loader.plan, 0, steps, BATCH, BATCH)))


def assert_same(found: list[Batch], expected: list[Batch]) -> None:
    assert [batch.keys for batch in found] == [batch.keys for batch in expected]
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.tensors["frames"], other.tensors["frames"])
        assert torch.equal(one.tensors["sound"], other.tensors["sound"])
        assert one.draws is not None
        assert other.draws is not None
        assert torch.equal(one.draws.volume, other.draws.volume)


@pytest.fixture(scope="module")
def expected(local: Path) -> list[Batch]:
    """Two epochs from the local disk."""
    return read(local, steps=2 * EPOCH)


def gets_of_tars(proxy: FaultyProxy) -> int:
    return sum(one.method == "GET" and one.path.endswith(".tar") for one in list(proxy.requests))


def extents(cache: CacheSettings) -> list[Path]:
    return [] if cache.folder is None else [path for path in Path(cache.folder, "sets").rglob("*") if path.is_file()]


def stand_ins(plan: ReadPlan, bad: set[int], position: int) -> tuple[int, int]:
    """The sample that the rule puts at a position where some are bad, and how many bad ones it stands in for."""
    epoch, place = divmod(position, len(plan.orders[0]))
    sample, attempt = int(plan.orders[0].samples_at(epoch, [place])[0]), 0
    while sample in bad:
        attempt += 1
        sample = plan.orders[0].stand_in(epoch, place, attempt)
    return sample, attempt


def assert_replaced(batches: list[Batch], plan: ReadPlan, bad: set[int]) -> None:
    """Exactly the bad samples are replaced, by those that the rule names."""
    for batch in batches:
        for position, note in zip(batch.positions, batch.notes, strict=True):
            sample, attempts = stand_ins(plan, bad, position)
            assert (note.key, len(note.bad)) == (f"video{sample}-000", attempts)
    assert sum(batch.replaced for batch in batches) > 0


@pytest.mark.parametrize("workers", [0, 2])
def test_a_second_epoch_comes_from_the_cache_and_is_the_same(remote, expected, cache, proxy, workers):
    with Loader(plan_of(remote, cache, workers), BATCH) as loader:
        batches = loader.batches(steps_of(loader.plan, 0, 2 * EPOCH, BATCH, BATCH))
        first = [next(batches) for _ in range(EPOCH)]
        asked = gets_of_tars(proxy)
        second = list(batches)
    assert_same([*first, *second], expected)
    assert asked == gets_of_tars(proxy) == SHARDS  # each shard is one extent, fetched once


def test_without_a_cache_each_sample_is_a_request(remote, expected, proxy):
    assert_same(read(remote), expected[:EPOCH])
    assert gets_of_tars(proxy) == SAMPLES


def test_without_a_cache_workers_give_the_same(remote, expected):
    assert_same(read(remote, workers=2), expected[:EPOCH])


def test_ranks_share_what_is_fetched(remote, expected, cache, proxy):
    parts: dict[int, list[Batch]] = {}
    plan = pickle.dumps(plan_of(remote, cache))  # as the main process sends it to the others

    def rank(number: int) -> None:
        with Loader(pickle.loads(plan), BATCH // 2) as loader:
            parts[number] = list(loader.batches(steps_of(loader.plan, 0, EPOCH, BATCH, BATCH // 2, number, 2)))

    with ThreadPoolExecutor(2) as ranks:
        list(ranks.map(rank, range(2)))
    found = {at: key for batch in parts[0] + parts[1] for at, key in zip(batch.positions, batch.keys, strict=True)}
    assert [found[at] for at in range(SAMPLES)] == [key for batch in expected[:EPOCH] for key in batch.keys]
    assert len(found) == SAMPLES
    assert gets_of_tars(proxy) == SHARDS
    asked = [request for request in list(proxy.requests) if "/shard-" in request.path]
    assert sum(one.method == "HEAD" for one in asked) == SHARDS
    assert sum(".json" in one.path for one in asked) == SHARDS + 1  # the plan is made after a look at one


def test_machines_begin_to_read_at_a_moment_of_their_own_which_their_ranks_share(
    remote, cache, tmp_path, proxy, monkeypatch
):
    plan, turns = plan_of(remote, cache, nodes=4), []
    monkeypatch.setattr(cache_plan, "wait_for_turn", lambda nodes: turns.append((nodes, gets_of_tars(proxy))))
    for machine in range(2):
        plan.cache = replace(plan.cache, folder=str(tmp_path / str(machine)))
        for _rank in range(3):
            with Loader(pickle.loads(pickle.dumps(plan)), BATCH) as loader:
                next(loader.batches(steps_of(plan, 0, 1, BATCH, BATCH)))
    of_one = gets_of_tars(proxy) // 2
    assert turns == [(4, 0), (4, of_one)]
    assert of_one > 0


def test_a_cache_too_small_for_the_blocks_is_left_out_and_said(remote, expected, cache, caplog):
    small = cache.model_copy(update={"gigabytes": 0.0003})
    assert_same(read(remote, small, steps=2), expected[:2])
    assert "is too little for the samples that are shuffled among themselves" in caplog.text
    assert not Path(str(cache.folder)).exists()


def samples_of(shard: int) -> set[int]:
    return set(range(shard * SHARD, (shard + 1) * SHARD))


def shard_numbers(plan: ReadPlan, positions: range) -> set[int]:
    return {pick.sample // SHARD for pick in plan.picks(positions)}


@pytest.mark.parametrize("cached", [True, False])
def test_a_shard_that_vanishes_in_the_middle_is_replaced_and_counted(spoilt, expected, cache, caplog, cached):
    cache = cache if cached else NO_CACHE
    plan = plan_of(spoilt, cache)
    shard = min(shard_numbers(plan, range(SAMPLES)) - shard_numbers(plan, range(BATCH)))  # not read in the first step
    gone = samples_of(shard)
    with Loader(plan, BATCH) as loader, caplog.at_level(logging.WARNING):
        batches = loader.batches(steps_of(loader.plan, 0, 2 * EPOCH, BATCH, BATCH))
        before = next(batches)
        storage.remove(f"{spoilt}/shard-{shard:06d}.tar")
        after = list(batches)
    assert_same([before], expected[:1])
    assert len(after) == 2 * EPOCH - 1
    assert_replaced(after, plan, gone)
    assert f"shard-{shard:06d}.tar: no such file" in caplog.text
    assert_replaced(read(spoilt, cache), plan, gone)


def test_a_shard_that_vanishes_after_it_was_cached_is_read_to_the_end(spoilt, expected, cache):
    plan = plan_of(spoilt, cache)
    shard = min(shard_numbers(plan, range(BATCH)))
    with Loader(plan, BATCH) as loader:
        batches = loader.batches(steps_of(loader.plan, 0, 2 * EPOCH, BATCH, BATCH))
        before = next(batches)
        storage.remove(f"{spoilt}/shard-{shard:06d}.tar")
        assert_same([before, *batches], expected)
    assert_replaced(read(spoilt, cache), plan, samples_of(shard))  # who comes later is told


@pytest.mark.parametrize("cached", [True, False])
def test_a_shard_that_is_replaced_in_the_middle_is_not_believed(spoilt, local, expected, cache, tmp_path, cached):
    """Another version, with other samples at the same places: their checksums are others than the index has."""
    cache = cache if cached else NO_CACHE
    plan = plan_of(spoilt, cache)
    shard = min(shard_numbers(plan, range(BATCH)))
    url, bad = f"{spoilt}/shard-{shard:06d}.tar", samples_of(shard)
    whole = (local / f"shard-{shard:06d}.tar").read_bytes()
    with Loader(plan, BATCH) as loader:
        batches = loader.batches(steps_of(loader.plan, 0, 2 * EPOCH, BATCH, BATCH))
        before = next(batches)
        for extent in extents(cache):
            extent.unlink()  # what was read once must be read again
        storage.write_bytes(url, whole[::-1])
        after = list(batches)
    assert_same([before], expected[:1])
    assert_replaced(after, plan, bad)
    assert_replaced(read(spoilt, cache), plan, bad)
    storage.write_bytes(url, whole + bytes(1024))  # a third version, which has the samples
    assert_same(read(spoilt, cache), expected[:EPOCH])


@pytest.mark.parametrize("name", ["shard-000000.json", "shard-000002.json"])
def test_a_shard_without_its_index_is_replaced(spoilt, cache, name):
    plan = plan_of(spoilt, cache)
    storage.remove(f"{spoilt}/{name}")
    assert_replaced(read(spoilt, cache), plan, samples_of(int(name[6:12])))


@pytest.mark.parametrize(("workers", "kinds"), [(0, ("slow",)), (2, ("refused", "dropped"))])
def test_a_server_that_is_down_or_silent_is_said_and_no_sample_replaced(
    remote, expected, proxy, monkeypatch, workers, kinds
):
    plan = plan_of(remote, workers=workers)
    monkeypatch.setenv("GAVT_STORAGE_PATIENCE_S", "2")
    with Loader(plan, BATCH) as loader:
        batches = loader.batches(steps_of(loader.plan, 0, EPOCH, BATCH, BATCH))
        found = [next(batches)]
        proxy.share, proxy.kinds = 1, kinds
        with pytest.raises(UserError, match=r"shard-00000\d\.(tar|json): can't read it: .* gave up after") as error:
            found.extend(batches)
    assert "\n" not in str(error.value)
    assert_same(found, expected[: len(found)])


def test_cached_bytes_that_rot_are_found_and_fetched_anew(remote, expected, cache, proxy):
    assert_same(read(remote, cache), expected[:EPOCH])
    asked = gets_of_tars(proxy)
    for extent in extents(cache):
        content = bytearray(extent.read_bytes())
        content[len(content) // 2] ^= 0xFF
        extent.write_bytes(content)
    found = read(remote, cache)
    assert_same(found, expected[:EPOCH])
    assert not any(batch.replaced for batch in found)
    assert asked < gets_of_tars(proxy) <= 2 * asked
