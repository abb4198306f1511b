"""The end of a shard set: `ledger.jsonl`, a line a video, then `dataset.json`, the totals."""

from collections import Counter
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from cluster import storage
from cluster.scratch import scratch_folder
from pipeline.errors import ShardSetError
from pipeline.shards import ledger
from pipeline.shards.shard_files import read_indexes, shard_name

NAME = "dataset.json"


class ShardEntry(BaseModel):
    """A shard in `dataset.json`.

    Attributes:
        videos: that gave samples; None in totals that were written before this was noted.
    """

    name: str
    samples: int
    videos: int | None = None
    bytes: int
    sha256: str


class Dataset(BaseModel):
    """`dataset.json`.

    Attributes:
        reasons: how many videos failed for which reason.
        examples: a failed video of each reason, as a sentence.
        sound_repeated: how many videos have less sound than a sample holds, so that it is repeated.
        features: of stored features, what made them; else None.
    """

    version: Literal[1] = 1
    samples: int
    videos: int
    failed: int
    layouts: list[str]
    plan_hash: str
    shards: list[ShardEntry]
    reasons: dict[str, int]
    examples: dict[str, str]
    sound_repeated: int = 0
    features: dict[str, Any] | None = None


def check_samples(dataset: Dataset, out: str) -> None:
    """
    Raises:
        ShardSetError: no video gave a sample; it says why.
    """
    if dataset.samples:
        return
    commonest = sorted(dataset.reasons.items(), key=lambda entry: -entry[1])[:3]
    found = ", ".join(f"{reason} ({count})" for reason, count in commonest)
    example = f"such as {dataset.examples[commonest[0][0]]}"
    raise ShardSetError(
        f"{out}: none of {dataset.videos} videos gave a sample: {found}, {example}; see {out}/ledger.jsonl"
    )


def read_dataset(out: str) -> Dataset:
    """The totals of a finished shard set.

    Raises:
        ShardSetError: something else has its name.
    """
    url = storage.join(out, NAME)
    try:
        return Dataset.model_validate_json(storage.read_bytes(url))
    except ValidationError as error:
        problem = error.errors()[0]["msg"]
        raise ShardSetError(f"{url}: expected the totals of a shard set, found something else ({problem})") from None


def finish_dataset(
    out: str, shards: int, layout: str, plan_hash: str, features: dict[str, Any] | None = None
) -> Dataset:
    """Write `ledger.jsonl` and `dataset.json` from the JSON files of all `shards`, which are made after a plan."""
    entries: list[ShardEntry] = []
    reasons: Counter[str] = Counter()
    examples: dict[str, str] = {}
    videos = failed = repeated = 0
    with scratch_folder("gavt-ledger-") as folder:
        path = folder / ledger.NAME
        with path.open("w", encoding="utf-8") as lines:
            for number, index in enumerate(read_indexes(out, range(shards))):
                for entry in index.inputs:
                    lines.write(f"{entry.model_dump_json()}\n")
                    if entry.reason:
                        reasons[entry.reason] += 1
                        examples.setdefault(entry.reason, f"{entry.source}: {entry.message}")
                videos += len(index.inputs)
                failed += sum(entry.status == "failed" for entry in index.inputs)
                repeated += sum(entry.sound_repeated for entry in index.inputs)
                entries.append(
                    ShardEntry(
                        name=f"{shard_name(number)}.tar",
                        samples=len(index.samples),
                        videos=sum(entry.samples > 0 for entry in index.inputs),
                        bytes=index.bytes,
                        sha256=index.sha256,
                    )
                )
        storage.upload(path, storage.join(out, ledger.NAME))
    dataset = Dataset(
        samples=sum(shard.samples for shard in entries),
        videos=videos,
        failed=failed,
        layouts=[layout],
        plan_hash=plan_hash,
        shards=entries,
        reasons=dict(sorted(reasons.items())),
        examples=dict(sorted(examples.items())),
        sound_repeated=repeated,
        features=features,
    )
    storage.write_text(storage.join(out, NAME), dataset.model_dump_json(exclude_none=True))
    return dataset
