"""What is written into a shard is found again by all that read shards."""

import numpy as np

from cluster import storage
from pipeline.errors import ShardSetError
from pipeline.shards.dataset import read_dataset
from pipeline.shards.ledger import read_ledger
from pipeline.shards.sample_table import parse_index
from pipeline.shards.shard_files import read_indexes
from pipeline.shards.shard_set import ShardSet
from pipeline.shards.tar_run import read_members
from pipeline.shards.writer import ShardWriter
from tiny_shards import write_shard_set


def test_every_reader_finds_the_samples_that_were_written(tmp_path):
    out = str(write_shard_set(tmp_path, 7, samples_per_shard=4, samples_per_video=2))
    shards = ShardSet.open(out)
    indexes = list(read_indexes(out, range(2)))
    entries = [entry for index in indexes for entry in index.samples]
    assert [entry.key for entry in entries] == [f"video{number}-000" for number in range(7)]
    for number, (place, entry) in enumerate(zip(shards.places(range(7)), entries, strict=True)):
        assert not isinstance(place, ShardSetError)
        assert (place.key, place.start, place.length, place.crc32) == (
            entry.key,
            entry.offset,
            entry.bytes,
            entry.crc32,
        )
        files = dict(read_members(storage.read_range(place.url, place.start, place.length)))
        sample = shards.read(number)
        assert [files[f"{place.key}.jpg"], files[f"{place.key}.flac"]] == [*sample.images, sample.audio]
    table = parse_index((tmp_path / "shard-000001.json").read_bytes())
    assert table.video_ends is not None
    np.testing.assert_array_equal(table.video_ends, [2, 3])
    dataset = read_dataset(out)
    assert (dataset.samples, dataset.videos, [shard.videos for shard in dataset.shards]) == (7, 4, [2, 2])
    assert sum(entry.samples for entry in read_ledger(out)) == 7


def test_the_same_samples_give_the_same_bytes(tmp_path):
    for name in ("a.tar", "b.tar"):
        with ShardWriter(tmp_path / name) as shard:
            shard.add("k", {"json": b"{}", "flac": bytes(700)})
        (tmp_path / f"{name}.json").write_text(shard.index([]).model_dump_json())
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    assert (tmp_path / "a.tar.json").read_bytes() == (tmp_path / "b.tar.json").read_bytes()
