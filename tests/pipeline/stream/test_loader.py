import json

import pytest
import torch

from pipeline.errors import ShardSetError
from pipeline.features.settings import FeatureSettings
from pipeline.stream.loader import BatchReader, Loader, share_of
from pipeline.stream.settings import DataSettings
from pipeline.stream.shard_set import ShardSet
from tiny_shards import FEATURES, write_shard_set


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return write_shard_set(tmp_path_factory.mktemp("shards"), samples=37)


def reader_of(folder, workers: int = 2, **data: int) -> BatchReader:
    features = FeatureSettings.model_validate(FEATURES)
    return BatchReader(ShardSet.open(str(folder)), features, DataSettings(workers=workers, **data), 3, augment=True)


def steps_of(folder, world_size: int, micro: int, first: int = 0, last: int = 6, workers: int = 2):
    """For each step its keys in order of position, and its frames and draws."""
    ranks = [
        list(Loader(reader_of(folder, workers), 16, micro, rank, world_size).batches(first, last))
        for rank in range(world_size)
    ]
    batches = sorted((batch for rank in ranks for batch in rank), key=lambda batch: batch.first_position)
    keys = [key for batch in batches for key in batch.keys]
    volumes = torch.cat([batch.draws.volume for batch in batches])
    frames = torch.cat([batch.frames for batch in batches])
    return keys, volumes, frames


@pytest.mark.parametrize(("world_size", "micro", "workers"), [(1, 16, 0), (1, 8, 2), (2, 8, 1), (4, 4, 3), (2, 2, 2)])
def test_a_steps_samples_and_draws_are_the_same_on_any_number_of_ranks_and_workers(shards, world_size, micro, workers):
    keys, volumes, frames = steps_of(shards, 1, 16)
    other_keys, other_volumes, other_frames = steps_of(shards, world_size, micro, workers=workers)
    assert other_keys == keys
    assert torch.equal(other_volumes, volumes)
    assert torch.equal(other_frames, frames)


def test_going_on_at_a_step_gives_what_an_uninterrupted_run_gives(shards):
    keys, volumes, _ = steps_of(shards, 1, 16)
    later, later_volumes, _ = steps_of(shards, 2, 4, first=4)
    assert later == keys[4 * 16 :]
    assert torch.equal(later_volumes, volumes[4 * 16 :])


def test_each_sample_comes_once_an_epoch_whatever_the_batch(shards):
    keys, _, _ = steps_of(shards, 1, 16, last=37)
    for epoch in range(16):
        assert len(set(keys[epoch * 37 : (epoch + 1) * 37])) == 37


def test_a_sample_that_does_not_decode_is_replaced_and_counted(tmp_path):
    folder = write_shard_set(tmp_path, samples=16)
    shard = json.loads((folder / "shard-000000.json").read_text())
    place = shard["samples"][3]
    tar = bytearray((folder / "shard-000000.tar").read_bytes())
    tar[place["offset"] + 512 : place["offset"] + place["bytes"]] = bytes(place["bytes"] - 512)
    (folder / "shard-000000.tar").write_bytes(tar)
    batch = next(Loader(reader_of(folder), 16, 16, 0, 1).batches(0, 1))
    assert batch.replaced == 1
    assert len(batch) == 16
    assert place["key"] not in batch.keys


def test_a_shard_set_in_which_nothing_decodes_stops_with_a_sentence(tmp_path):
    folder = write_shard_set(tmp_path, samples=8)
    (folder / "shard-000000.tar").write_bytes(bytes(1000))
    with pytest.raises(ShardSetError, match="5 samples in a row can't be used"):
        reader_of(folder, max_bad_in_a_row=5).read(range(8))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "expected a folder of shards with a dataset.json, found none"),
        ({"plan.json": "{}"}, "not finished"),
        ({"dataset.json": "{"}, "expected JSON"),
        ({"dataset.json": "[]"}, "expected a JSON object"),
        ({"dataset.json": '{"shards": [{"name": "x"}]}'}, "expected a list of shards"),
        ({"dataset.json": '{"shards": []}'}, "holds no samples"),
    ],
)
def test_a_folder_that_is_no_shard_set_is_refused_with_a_sentence(tmp_path, files, message):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(ShardSetError, match=message):
        ShardSet.open(str(tmp_path))


def test_audio_shorter_than_the_features_ask_for_is_said(shards):
    features = FeatureSettings.model_validate(FEATURES | {"audio_samples": 5000})
    reader = BatchReader(ShardSet.open(str(shards)), features, DataSettings(), 0, augment=False)
    with pytest.raises(ShardSetError, match="expected 5000 audio samples at 11025 Hz as the features ask for"):
        reader.read(range(4))


def test_validation_shares_cover_each_sample_once(shards):
    reader = reader_of(shards)
    keys = [key for rank in range(3) for batch in share_of(reader, 37, 8, rank, 3) for key in batch.keys]
    assert len(set(keys)) == len(keys) == 37
