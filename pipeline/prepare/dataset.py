"""The end of a shard set: `ledger.jsonl`, a line an input, then `dataset.json`, the totals."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from pydantic import BaseModel, ValidationError

from cluster import storage
from pipeline.errors import ShardSetError
from pipeline.prepare.plan import Plan
from pipeline.prepare.shard import InputEntry, ShardIndex, shard_name

_READERS = 16  # object storage answers many small requests at once as fast as one


class ShardEntry(BaseModel):
    """A shard in `dataset.json`."""

    name: str
    samples: int
    bytes: int
    sha256: str


class Dataset(BaseModel):
    """`dataset.json`."""

    version: Literal[1] = 1
    samples: int
    videos: int
    failed: int
    layouts: list[str]
    plan_hash: str
    shards: list[ShardEntry]
    reasons: dict[str, int]


def read_indexes(out: str, numbers: Sequence[int]) -> list[ShardIndex]:
    """The JSON files of shards that are done.

    Raises:
        ShardSetError: one is damaged.
    """
    urls = [storage.join(out, f"{shard_name(number)}.json") for number in numbers]
    with ThreadPoolExecutor(_READERS) as readers:
        return list(readers.map(_read_index, urls))


def finish_dataset(out: str, plan: Plan) -> tuple[Dataset, list[InputEntry]]:
    """Write `ledger.jsonl` and `dataset.json` from the JSON files of all shards of the plan."""
    indexes = read_indexes(out, range(len(plan.shards)))
    inputs = [entry for index in indexes for entry in index.inputs]
    dataset = Dataset(
        samples=sum(len(index.samples) for index in indexes),
        videos=len(inputs),
        failed=sum(entry.status == "failed" for entry in inputs),
        layouts=[str(plan.settings["layout"])],
        plan_hash=plan.hash,
        shards=[
            ShardEntry(
                name=f"{shard_name(number)}.tar",
                samples=len(index.samples),
                bytes=index.bytes,
                sha256=index.sha256,
            )
            for number, index in enumerate(indexes)
        ],
        reasons=dict(sorted(Counter(entry.reason for entry in inputs if entry.reason).items())),
    )
    storage.write_text(storage.join(out, "ledger.jsonl"), "".join(f"{entry.model_dump_json()}\n" for entry in inputs))
    storage.write_text(storage.join(out, "dataset.json"), dataset.model_dump_json())
    return dataset, inputs


def _read_index(url: str) -> ShardIndex:
    try:
        return ShardIndex.model_validate_json(storage.read_bytes(url))
    except ValidationError as error:
        problem = error.errors()[0]["msg"]
        raise ShardSetError(f"{url}: expected the JSON of a shard, found something else ({problem})") from None
