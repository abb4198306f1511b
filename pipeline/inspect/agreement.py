"""Whether the files that describe a shard set say the same: totals, ledger, plan and shards."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from cluster import storage
from cluster.errors import StorageError
from pipeline.errors import ShardSetError
from pipeline.inspect.contents import Contents
from pipeline.inspect.verify_shard import Problem, ShardFound, digest_of_ids
from pipeline.prepare import plan as plan_file
from pipeline.prepare.plan import hashes_agree, shard_rows
from pipeline.shards import dataset as dataset_file
from pipeline.shards import ledger
from pipeline.shards.shard_files import read_indexes, shard_name


def totals_disagree(contents: Contents, shards: Sequence[ShardFound]) -> Iterator[Problem]:
    """Where `dataset.json` and the shards disagree."""
    dataset = contents.dataset
    if dataset is None:
        return
    name = dataset_file.NAME
    entries = {entry.name: entry for entry in dataset.shards}
    for shard in shards:
        entry = entries.get(f"{shard_name(shard.number)}.tar")
        if shard.index_sha256 is None or entry is None:
            continue
        if entry.sha256 != shard.index_sha256:
            yield Problem(name, None, f"{entry.name}: expected the SHA-256 of the shard's JSON, found another")
        if entry.samples != shard.samples:
            yield Problem(name, None, f"{entry.name}: expected {shard.samples} samples, found {entry.samples}")
        if entry.videos is not None and entry.videos != shard.videos:
            yield Problem(name, None, f"{entry.name}: expected {shard.videos} videos, found {entry.videos}")
        if shard.tar_sha256 is not None and entry.bytes != shard.bytes:
            yield Problem(name, None, f"{entry.name}: expected {shard.bytes} bytes, found {entry.bytes}")
    if dataset.samples != sum(entry.samples for entry in dataset.shards):
        yield Problem(name, None, f"expected as many samples as its shards have, found {dataset.samples}")
    reasons = sum((shard.reasons for shard in shards), Counter[str]())
    if len(shards) == len(dataset.shards) and (dataset.reasons, dataset.failed) != (dict(reasons), reasons.total()):
        yield Problem(name, None, f"expected {reasons.total()} failed videos as the shards have, found others")
    if contents.plan is not None:
        if dataset.plan_hash != contents.plan.hash:
            yield Problem(name, None, "expected the hash of plan.json, found that of another plan")
        if len(dataset.shards) != contents.plan.shards:
            yield Problem(name, None, f"expected {contents.plan.shards} shards as planned, found {len(dataset.shards)}")
        if dataset.videos != contents.plan.videos:
            yield Problem(name, None, f"expected {contents.plan.videos} videos as planned, found {dataset.videos}")


def ledger_disagrees(contents: Contents, shards: Sequence[ShardFound]) -> Iterator[Problem]:
    """The first place where the ledger and the shards disagree."""
    if contents.dataset is None or not contents.has_ledger or any(shard.index_sha256 is None for shard in shards):
        return  # with a shard's JSON gone, nobody knows where in the ledger the next one begins
    if [shard.number for shard in shards] != list(range(len(contents.dataset.shards))):
        return
    number = 0
    with storage.open_read(storage.join(contents.url, ledger.NAME)) as file:
        for shard in shards:
            lines = list(islice(file, shard.inputs))
            if hashlib.sha256(b"".join(lines)).hexdigest() != shard.inputs_sha256:
                yield Problem(ledger.NAME, None, _difference(contents.url, shard, lines, number))
                return
            number += len(lines)
        if file.readline():
            yield Problem(ledger.NAME, None, f"expected {number} videos, found more lines")


def _difference(url: str, shard: ShardFound, lines: list[bytes], before: int) -> str:
    """The first line of a shard's part of the ledger that is not what the shard's JSON says."""
    name = shard_name(shard.number)
    (index,) = read_indexes(url, [shard.number])
    for place, entry in enumerate(index.inputs):
        if place >= len(lines):
            return f"expected line {before + place + 1} to tell of {entry.video!r} in {name}, found the end of the file"
        if lines[place].rstrip(b"\n") != entry.model_dump_json().encode():
            return f"line {before + place + 1} is not what {name}.json says of {entry.video!r}"
    return f"its lines are not what {name}.json says"


def plan_disagrees(contents: Contents, found: Mapping[int, ShardFound]) -> Iterator[Problem]:
    """Shards whose videos are not those of the plan, and parts of the plan that are not what was written."""
    plan = contents.plan
    if plan is None:
        return
    if not hashes_agree(plan):
        yield Problem(plan_file.NAME, None, "expected the hashes of its own settings and rows, found others")
    numbers = [n for n in sorted(found) if found[n].index_sha256 is not None and n < plan.shards]
    try:
        for number, rows in shard_rows(contents.url, plan, numbers):
            if digest_of_ids([row.video for row in rows]) != found[number].videos_sha256:
                yield Problem(f"{shard_name(number)}.json", None, "its videos are not those of the plan")
    except (ShardSetError, StorageError) as error:
        yield Problem(plan_file.NAME, None, str(error))
