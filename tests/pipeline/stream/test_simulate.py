"""The forecast of a job's downloads, beside the real cache and the real order."""

from pathlib import Path

import numpy as np
import pytest

from cluster import storage
from cluster.node_cache import NodeCache
from pipeline.errors import SettingsError, ShardSetError
from pipeline.features.settings import FeatureSettings
from pipeline.shards.shard_set import ShardSet
from pipeline.stream.fields.registry import fields_of
from pipeline.stream.mixture import Mixture
from pipeline.stream.order import Order
from pipeline.stream.read_plan import ReadPlan
from pipeline.stream.settings import CacheSettings, DataSettings
from pipeline.stream.simulate import simulation
from pipeline.stream.simulate.advice import advise
from pipeline.stream.simulate.cache_model import CacheModel
from pipeline.stream.simulate.quality import neighbours, shuffle_quality
from pipeline.stream.simulate.shard_sizes import ShardSizes
from pipeline.stream.simulate.simulation import Forecast, PlannedJob, simulate
from pipeline.stream.steps import steps_of
from tiny_shards import write_shard_set

SHARDS, SAMPLES, SAMPLE_BYTES, EXTENT_BYTES = 24, 40, 3000, 8192


def job(
    nodes: int = 1, gigabytes: float = 20.0, batch: int = 64, lanes: int = 8, block: int = 20_000, **more
) -> PlannedJob:
    data = DataSettings(lanes=lanes, block_samples=block, cache=CacheSettings(gigabytes=gigabytes))
    return PlannedJob(nodes, 1, batch, data, **more)


def forecast_of(planned: PlannedJob, shards: int = 400, samples: int = 1000, kilobytes: float = 120) -> Forecast:
    return simulate(ShardSizes.imagined(shards, samples, int(kilobytes * 1000)), planned)


@pytest.mark.parametrize("cache_extents", [50, 150, 400])
def test_downloads_are_those_of_the_real_cache_in_the_real_order(tmp_path: Path, cache_extents: int) -> None:
    urls = [str(tmp_path / f"shard-{number:06d}.tar") for number in range(SHARDS)]
    for url in urls:
        Path(url).write_bytes(bytes(SAMPLES * SAMPLE_BYTES))
    versions = [storage.version(url) for url in urls]
    planned = job(gigabytes=cache_extents * EXTENT_BYTES / 1e9, lanes=2, block=40, epochs=2)
    forecast = simulate(ShardSizes.imagined(SHARDS, SAMPLES, SAMPLE_BYTES), planned, EXTENT_BYTES)
    size, ring = cache_extents * EXTENT_BYTES, int(forecast.ring_bytes)
    cache = NodeCache(tmp_path / "cache", size, EXTENT_BYTES, ring_bytes=ring)
    order = Order([SAMPLES] * SHARDS, planned.seed, planned.data.block_samples, planned.data.lanes)
    found = []
    for epoch in range(planned.epochs):
        before = cache.misses
        for sample in order.samples_at(epoch, range(len(order))).tolist():
            shard, inside = divmod(sample, SAMPLES)
            cache.read(urls[shard], versions[shard], inside * SAMPLE_BYTES, SAMPLE_BYTES)
        found.append(cache.misses - before)
    cache.close()
    assert [epoch.node_downloads for epoch in forecast.epochs] == pytest.approx(found, rel=0.03)
    assert found[1] == 0 or cache_extents < 400


def test_the_nodes_of_positions_are_those_of_the_loader() -> None:
    planned = PlannedJob(3, 2, 48, DataSettings())
    sizes = [("a.tar", 60), ("b.tar", 60)]
    fields = fields_of(FeatureSettings(), ("frames", "sound"), augment=False)
    data = DataSettings(block_samples=20, lanes=3)
    plan = ReadPlan([ShardSet("x", sizes)], Mixture.start({"": 1.0}, 0), data, fields, None, 0)
    found = planned.node_of(np.arange(96), plan.orders[0])
    for rank in range(6):
        for positions in steps_of(plan, 0, 2, 48, 4, rank, 6):
            assert (found[positions] == rank // 2).all()


def test_a_cache_that_holds_all_downloads_once() -> None:
    planned = job(gigabytes=60)
    forecast = forecast_of(planned)
    first, second = forecast.epochs
    assert (first.times, second.times) == (1.0, 0.0)
    assert first.total_bytes == forecast.set_bytes == 48_000_000_000
    assert second.cache_hits == 1.0
    assert "nothing is downloaded" in advise(planned, forecast)


def test_a_cache_too_small_for_what_several_nodes_read_downloads_again_and_says_how_large_it_should_be() -> None:
    # five runs for eight nodes: the lanes of a node change with every step, and the cache is planned for one
    planned = job(nodes=8, gigabytes=8, batch=40, block=5000)
    forecast = forecast_of(planned)
    assert forecast.epochs[0].times > 1.2
    sentence = advise(planned, forecast)
    assert "times an epoch" in sentence
    enough = float(sentence.partition("data.cache.gigabytes=")[2].partition(",")[0])
    again = forecast_of(job(nodes=8, gigabytes=enough, batch=40, block=5000))
    assert again.epochs[0].times == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(("gigabytes", "found"), [(0, "There is no cache"), (8, "A cache of 8 GB is too little")])
def test_without_room_every_sample_is_a_request(gigabytes: float, found: str) -> None:
    planned = job(gigabytes=gigabytes, samples_per_s=500.0)
    forecast = forecast_of(planned)
    assert forecast.epochs[1].node_downloads == forecast.samples
    assert forecast.epochs[1].requests_per_s == pytest.approx(500.0)
    assert forecast.epochs[1].node_bytes == forecast.set_bytes
    sentence = advise(planned, forecast)
    assert sentence.startswith(f"{found}, so every sample is a request of its own, 500 a second")
    enough = float(sentence.partition("data.cache.gigabytes=")[2].partition(" ")[0])
    assert forecast_of(job(gigabytes=enough)).epochs[0].times == pytest.approx(1.0, abs=0.05)


def test_fewer_lanes_than_nodes_make_nodes_share_shards() -> None:
    planned = job(nodes=8, gigabytes=100, lanes=2, batch=64)
    forecast = forecast_of(planned)
    assert forecast.nodes_per_shard == pytest.approx(4.0, abs=0.2)
    assert "2 lanes are fewer than nodes; set data.lanes to a multiple of 8" in advise(planned, forecast)


def test_nodes_with_a_lane_each_share_none() -> None:
    forecast = forecast_of(job(nodes=8, gigabytes=100, lanes=8, batch=64))
    assert forecast.nodes_per_shard == pytest.approx(1.0, abs=0.05)
    assert forecast.epochs[0].total_bytes == pytest.approx(forecast.set_bytes, rel=0.01)


def test_a_job_too_large_to_go_through_is_made_smaller_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    planned = job(nodes=8, gigabytes=100, batch=64, epochs=1)
    whole = forecast_of(planned)
    monkeypatch.setattr(simulation, "_MOST_READS", 100_000)
    some = forecast_of(planned)
    assert some.scaled == ["2 of 8 nodes stand for all"]
    assert some.epochs[0].node_bytes == pytest.approx(whole.epochs[0].node_bytes, rel=0.02)
    alone = job(gigabytes=10, lanes=2, block=2000)
    monkeypatch.undo()
    whole = forecast_of(alone)
    monkeypatch.setattr(simulation, "_MOST_READS", 200_000)
    some = forecast_of(alone)
    assert some.scaled == ["one shard in 4 stands for all, and so does what the caches keep"]
    assert [epoch.node_bytes for epoch in some.epochs] == pytest.approx(
        [epoch.node_bytes for epoch in whole.epochs], rel=0.05
    )


def test_a_batch_that_does_not_divide_is_one_sentence() -> None:
    with pytest.raises(SettingsError, match="expected a multiple of 3 nodes × 1 ranks, found 64"):
        forecast_of(job(nodes=3))


def test_sizes_of_a_real_shard_set(tmp_path: Path) -> None:
    folder = write_shard_set(tmp_path / "shards", samples=20, samples_per_shard=8)
    sizes = ShardSizes.of(str(folder))
    assert sizes.samples.tolist() == [8, 8, 4]
    assert sizes.bytes.tolist() == [(folder / f"shard-{number:06d}.tar").stat().st_size for number in range(3)]
    (folder / "shard-000001.tar").unlink()
    with pytest.raises(ShardSetError, match=r"shard-000001.tar: expected a shard, found no such file"):
        ShardSizes.of(str(folder))


def test_an_empty_shard_set_is_one_sentence() -> None:
    with pytest.raises(ShardSetError, match="expected shards with samples"):
        simulate(ShardSizes(np.array([0]), np.array([10_240]), np.array([0])), job())


def test_the_ring_drops_the_oldest_and_keeps_what_came_first() -> None:
    cache = CacheModel(extents=10, kept=2, passing=3)
    assert cache.read(np.array([0, 1, 2, 3, 4, 2])).tolist() == [0, 1, 2, 3, 4]
    assert cache.read(np.array([5])).tolist() == [5]
    assert cache.read(np.array([0, 1, 3, 4, 5])).tolist() == []
    assert cache.read(np.array([2])).tolist() == [2]
    assert cache.read(np.array([3])).tolist() == [3]


def test_neighbours_of_one_shard_are_counted() -> None:
    same, correlation = neighbours(np.array([0, 0, 1, 1, 0, 0, 1, 1]))
    assert same == pytest.approx(4 / 7)
    assert correlation == pytest.approx(np.corrcoef([0, 0, 1, 1, 0, 0, 1], [0, 1, 1, 0, 0, 1, 1])[0, 1])
    assert neighbours(np.array([3, 3, 3])) == (1.0, 0.0)
    assert neighbours(np.array([3])) == (0.0, 0.0)


def test_quality_is_that_of_a_buffer_of_half_a_block() -> None:
    quality = shuffle_quality(Order([1000] * 200, 0, 20_000, 1))
    assert quality.same_shard == pytest.approx(1 / 20, rel=0.05)
    assert quality.buffer_samples == pytest.approx(10_000, rel=0.05)
