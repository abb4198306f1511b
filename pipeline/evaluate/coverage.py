"""How much of what was listed is judged."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from cluster import storage
from pipeline.shards.dataset import NAME, read_dataset


class Coverage(TypedDict):
    """Of a shard set.

    Attributes:
        wanted: videos that its list named; None of tars that others wrote, whose list nobody knows.
        found: those that gave samples.
        missing: how many failed, by reason.
        samples: in the set, of which `evaluate.max_samples` may leave some out.
        judged: how many were judged.
    """

    wanted: int | None
    found: int | None
    missing: dict[str, int]
    samples: int
    judged: int


def coverage_of(url: str, samples: int, judged: int) -> Coverage:
    """The coverage of a shard set that holds so many samples."""
    if not storage.exists(storage.join(url, NAME)):
        return Coverage(wanted=None, found=None, missing={}, samples=samples, judged=judged)
    dataset = read_dataset(url)
    of_shards = [shard.videos for shard in dataset.shards]
    known = [videos for videos in of_shards if videos is not None]
    found = sum(known) if len(known) == len(of_shards) else dataset.videos - dataset.failed
    return Coverage(wanted=dataset.videos, found=found, missing=dataset.reasons, samples=samples, judged=judged)


def added_coverage(several: Sequence[Coverage]) -> Coverage:
    """Of several shard sets together."""
    wanted, found = [one["wanted"] for one in several], [one["found"] for one in several]
    missing: Counter[str] = Counter()
    for one in several:
        missing.update(one["missing"])
    return Coverage(
        wanted=None if None in wanted else sum(filter(None, wanted)),
        found=None if None in found else sum(filter(None, found)),
        missing=dict(missing),
        samples=sum(one["samples"] for one in several),
        judged=sum(one["judged"] for one in several),
    )


def said_of_coverage(coverage: Mapping[str, Any]) -> str:
    """In a sentence."""
    wanted, found, missing = coverage["wanted"], coverage["found"], coverage["missing"]
    if wanted is None:
        told = "coverage is unknown: no list says what these tars should hold"
    else:
        why = ", ".join(f"{count:,} {reason}" for reason, count in sorted(missing.items(), key=lambda one: -one[1]))
        lacking = f"; missing: {why or 'nothing is said why'}" if found < wanted else ""
        told = f"coverage: {found:,} of {wanted:,} listed videos are in the set{lacking}"
    if coverage["judged"] < coverage["samples"]:
        told += f"; {coverage['judged']:,} of its {coverage['samples']:,} samples are judged (evaluate.max_samples)"
    return told
