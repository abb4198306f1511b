"""One sample of each video an epoch."""

import json
import pickle
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch

from cluster import storage
from cluster.node_cache import NodeCache
from cluster.process_group import ProcessGroup
from jobs.cli import main
from pipeline.errors import ShardSetError
from pipeline.experiment import ExperimentSettings
from pipeline.features.settings import FeatureSettings
from pipeline.shards.shard_set import SamplePlace, ShardSet
from pipeline.stream.loader import Loader
from pipeline.stream.read_plan import ReadPlan, order_of, plan_reading
from pipeline.stream.settings import CacheSettings, DataSettings, ShardSource
from pipeline.stream.simulate.shard_sizes import ShardSizes
from pipeline.stream.simulate.simulation import PlannedJob, simulate
from pipeline.stream.steps import steps_of
from pipeline.train.data import open_data
from tiny_shards import FEATURES, write_shard_set

VIDEOS, EACH, BATCH = 15, 4, 8


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shards") / "set"
    return write_shard_set(folder, VIDEOS * EACH, samples_per_shard=2 * EACH, samples_per_video=EACH)


def plan_of(source, augment: bool = True, seed: int = 3, **data) -> ReadPlan:
    chosen = DataSettings(**{"samples_per_video": 1, "workers": 0, "block_samples": 24, "lanes": 2} | data)
    source = source if isinstance(source, list) else str(source)
    return plan_reading(source, FeatureSettings.model_validate(FEATURES), chosen, seed, augment)


def keys_at(plan: ReadPlan, positions) -> list[str]:
    found = plan.places(plan.picks(np.asarray(positions)))
    assert all(isinstance(place, SamplePlace) for place in found)
    return [place.key for place in found]


def video_of(key: str) -> str:
    """By the metadata's rule of the tiny shards: sample 7 of four a video is of video 1."""
    return f"video{int(key.removeprefix('video').removesuffix('-000')) // EACH}"


def test_each_video_comes_once_an_epoch_with_a_sample_that_changes(shards):
    plan = plan_of(shards)
    assert len(plan) == VIDEOS
    shown = defaultdict(Counter)
    for epoch in range(40):
        keys = keys_at(plan, range(epoch * VIDEOS, (epoch + 1) * VIDEOS))
        assert len({video_of(key) for key in keys}) == VIDEOS
        for key in keys:
            shown[video_of(key)][key] += 1
    assert all(len(samples) == EACH for samples in shown.values())  # no sample is never shown
    most = max(max(samples.values()) for samples in shown.values())
    assert most < 25  # of 40, where 10 are expected


def test_the_sample_is_drawn_by_seed_epoch_and_video_alone(shards):
    whole = keys_at(plan_of(shards), range(4 * VIDEOS))
    for position in (0, 17, 31, 59):
        assert keys_at(plan_of(shards), [position]) == [whole[position]]
    backwards = list(range(4 * VIDEOS))[::-1]
    assert keys_at(plan_of(shards), backwards) == whole[::-1]
    assert keys_at(plan_of(shards, seed=4), range(4 * VIDEOS)) != whole


@pytest.mark.parametrize(("world_size", "micro", "workers"), [(2, 4, 0), (1, 8, 2), (4, 2, 0)])
def test_the_samples_of_a_step_are_the_same_on_any_ranks_and_workers_and_where_it_goes_on(
    shards, world_size, micro, workers
):
    steps = 5  # into the third epoch
    expected = [set(keys_at(plan_of(shards), range(n * BATCH, (n + 1) * BATCH))) for n in range(steps)]
    found = [set() for _ in range(steps)]
    for rank in range(world_size):
        for first in (0, 3):
            with Loader(plan_of(shards, workers=workers), micro) as loader:
                last = 3 if first == 0 else steps
                pieces = steps_of(loader.plan, first * BATCH, last - first, BATCH, micro, rank, world_size)
                for number, batch in enumerate(loader.batches(pieces)):
                    found[first + number * micro * world_size // BATCH] |= set(batch.keys)
    assert found == expected


def test_a_mixture_may_show_one_sample_of_each_video_of_some_sets_only(shards, tmp_path):
    other = write_shard_set(tmp_path / "other", 30, seed=5)
    source = [
        ShardSource(url=str(shards), name="videos", samples_per_video=1),
        ShardSource(url=str(other), name="all"),
    ]
    plan = plan_of(source, samples_per_video="all")
    assert [len(order) for order in plan.orders] == [VIDEOS, 30]
    picks = plan.picks(range(24 * 45))
    of_videos = [pick for pick in picks if pick.set == 0]
    assert all((pick.share is not None) == (pick.set == 0) for pick in picks)
    epochs = Counter(pick.epoch for pick in of_videos)
    assert set(list(epochs.values())[:-1]) == {VIDEOS}
    # by default weights are epochs of what is shown: each set is gone through equally often
    (stretch,) = plan.mixture.history
    assert stretch.runs["videos"] / stretch.runs["all"] == pytest.approx(VIDEOS / 30, rel=0.01)


def test_another_number_of_samples_a_video_is_another_order_unless_each_video_has_one(shards, tmp_path):
    assert plan_of(shards).fingerprints() != plan_of(shards, samples_per_video="all").fingerprints()
    single = write_shard_set(tmp_path / "single", 30)
    plans = [plan_of(single, samples_per_video=number) for number in ("all", 1)]
    assert plans[0].fingerprints() == plans[1].fingerprints()
    assert keys_at(plans[0], range(60)) == keys_at(plans[1], range(60))


def test_a_block_is_of_as_many_stored_samples_whatever_is_shown_of_them():
    data = DataSettings(block_samples=24_000, lanes=8)
    all_of_them = order_of([1700] * 1000, 1_700_000, 0, data)
    one_of_17 = order_of([100] * 1000, 1_700_000, 0, data)
    assert one_of_17.lanes == all_of_them.lanes == 8
    assert 17 * one_of_17.block_samples == pytest.approx(all_of_them.block_samples, rel=0.01)


def test_validation_shows_all_samples(shards):
    data = {"train": str(shards), "validation": str(shards), "workers": 0, "samples_per_video": 1}
    settings = ExperimentSettings.model_validate({"data": data, "features": FEATURES})
    alone = ProcessGroup(0, 0, 1, torch.device("cpu"))
    with open_data(settings, BATCH, alone, None) as opened:
        assert len(opened.plan) == VIDEOS
        assert opened.validation is not None
        assert len(opened.validation.plan) == VIDEOS * EACH


def test_shards_that_do_not_say_their_videos_are_refused(shards, tmp_path):
    before = write_shard_set(tmp_path / "before", 8)
    totals = json.loads((before / "dataset.json").read_text())
    for shard in totals["shards"]:
        del shard["videos"]
    (before / "dataset.json").write_text(json.dumps(totals))
    with pytest.raises(ShardSetError, match=r"which samples are of one video.*dataset.json doesn't say.*prepare --out"):
        plan_of(before)
    assert len(plan_of(before, samples_per_video="all")) == 8
    others = tmp_path / "others"
    others.mkdir()
    (others / "a.tar").write_bytes((shards / "shard-000000.tar").read_bytes())
    with pytest.raises(ShardSetError, match="tars that others wrote don't say; set data.samples_per_video=all"):
        plan_of(others)


def test_a_shard_whose_index_does_not_fit_its_videos_gives_bad_samples_that_name_it(tmp_path):
    folder = write_shard_set(tmp_path / "set", 32, samples_per_shard=8, samples_per_video=4)
    index = json.loads((folder / "shard-000001.json").read_text())
    index["inputs"][0]["samples"] = 3
    (folder / "shard-000001.json").write_text(json.dumps(index))
    batch = Loader(plan_of(folder), 8).read(range(8))
    bad = [note.bad for note in batch.notes if note.bad]
    assert len(bad) == 2
    assert all("shard-000001.tar: its index: expected which samples are of one video" in one[0][2] for one in bad)
    assert len(plan_of(folder, samples_per_video="all")) == 32


def test_the_forecast_of_downloads_is_that_of_the_real_cache(tmp_path):
    number, videos, each, size, extent = 24, 10, 4, 3000, 8192
    urls = [str(tmp_path / f"shard-{shard:06d}.tar") for shard in range(number)]
    for url in urls:
        Path(url).write_bytes(bytes(videos * each * size))
    data = DataSettings(
        lanes=2, block_samples=80, samples_per_video=1, cache=CacheSettings(gigabytes=200 * extent / 1e9)
    )
    sizes = ShardSizes.imagined(number, videos * each, size, videos)
    forecast = simulate(sizes, PlannedJob(1, 1, 64, data, epochs=2), extent)
    assert (forecast.samples, forecast.shown) == (number * videos * each, number * videos)
    versions = [storage.version(url) for url in urls]
    ring = int(forecast.ring_bytes)
    cache = NodeCache(tmp_path / "cache", 200 * extent, extent, ring_bytes=ring)
    order = order_of([videos] * number, len(sizes), 0, data)
    random = np.random.default_rng(0)
    found = []
    for epoch in range(2):
        before = cache.misses
        for video in order.samples_at(epoch, range(len(order))).tolist():
            shard, inside = divmod(video, videos)
            sample = inside * each + int(random.integers(each))
            cache.read(urls[shard], versions[shard], sample * size, size)
        found.append(cache.misses - before)
    cache.close()
    assert [epoch.node_downloads for epoch in forecast.epochs] == pytest.approx(found, rel=0.1)


def test_simulate_asks_how_many_videos_a_shard_holds(capsys, shards):
    words = ["stream", "simulate", "--set", "data.samples_per_video=1", "--samples-per-s", "15", "--json"]
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 2
    assert "--videos-per-shard: expected 1 to 1000" in capsys.readouterr().err
    with pytest.raises(SystemExit) as left:
        main([*words, str(shards), "--batch-size", "5"])
    assert left.value.code == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (found["samples"], found["shown"]) == (VIDEOS * EACH, VIDEOS)


def test_a_set_travels_with_what_it_knows_of_videos(shards):
    whole = ShardSet.open(str(shards))
    again = pickle.loads(pickle.dumps(whole))
    assert again.videos_per_shard() == whole.videos_per_shard() == [2] * 7 + [1]
