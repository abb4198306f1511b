"""Shard sets of samples that a test makes, written by the writer that `gavt prepare` writes with."""

import json
from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path

from pipeline.shards.dataset import finish_dataset
from pipeline.shards.ledger import InputEntry
from pipeline.shards.shard_files import publish_shard, shard_name
from pipeline.shards.writer import ShardWriter

Sample = tuple[str, Mapping[str, bytes]]
"""Key, and extension → content; the JSON first."""


def write_shards(folder: Path, shards: Iterable[Iterable[Sample]], layout: str = "frame") -> Path:
    """A finished shard set in `folder`. Samples of one video follow each other in one shard."""
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    for count, samples in enumerate(shards, 1):
        name, sources = shard_name(count - 1), []
        with ShardWriter(folder / f"{name}.tar.part") as writer:
            for key, files in samples:
                writer.add(key, files)
                metadata = json.loads(files["json"])
                sources.append((metadata["video"], metadata["source"]))
        inputs = [
            InputEntry(video=video, source=source, status="ok", attempts=1, samples=len(list(same)))
            for (video, source), same in groupby(sources)
        ]
        publish_shard(str(folder), count - 1, folder / f"{name}.tar.part", writer.index(inputs))
        (folder / f"{name}.tar.part").unlink()
    finish_dataset(str(folder), count, layout, "of a test")
    return folder
