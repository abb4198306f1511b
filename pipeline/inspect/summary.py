"""What is in a shard set: totals from the files that describe it, the rest from samples by chance."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from pipeline.inspect.choose import choose, every, read_each
from pipeline.inspect.contents import Contents
from pipeline.inspect.facts import HEAD_BYTES, Facts, read_facts
from pipeline.inspect.totals import count, some_indexes
from pipeline.shards.shard_files import read_indexes

_TOP = 20


@dataclass(frozen=True)
class Spread:
    """Least, middle and most of a quantity."""

    least: float
    median: float
    most: float


@dataclass(frozen=True)
class ShardSetSummary:
    """A shard set in figures.

    Attributes:
        shards_done, shards_planned: shards that are there, and that there will be.
        videos, videos_planned, failed, samples: of the shards that are there.
        estimated: whether these four were worked out from some of the shards.
        reasons: why how many videos failed; `examples` has a failed video of each, as a sentence.
        bytes: of the tars.
        looked_at: samples from which all that follows was taken; `unreadable` has what was wrong with others.
        audio_hours: of all samples.
        audio_s: length of a sample's audio.
        frames: frames a sample.
        resolutions, labels, splits: how often; the commonest 20.
    """

    url: str
    finished: bool
    shards_done: int
    shards_planned: int | None
    videos: int
    videos_planned: int | None
    failed: int
    samples: int
    estimated: bool
    reasons: dict[str, int]
    examples: dict[str, str]
    bytes: int
    samples_per_shard: Spread | None
    settings: dict[str, Any] | None
    layouts: list[str]
    looked_at: int
    unreadable: list[str]
    audio_hours: float
    audio_s: Spread | None
    frames: Spread | None
    sample_bytes: Spread | None
    resolutions: dict[str, int]
    audio_rates_hz: dict[str, int]
    labels: dict[str, int]
    different_labels: int
    unlabelled: int
    splits: dict[str, int]
    with_boxes: int
    with_keypoints: int
    with_segment_labels: int
    notes: list[str] = field(default_factory=list)


@dataclass
class _Seen:
    """What the samples say that were looked at; as large as what they say differs, not as there are samples."""

    samples: int = 0
    seconds: float = 0.0
    unreadable: list[str] = field(default_factory=list)
    layouts: set[str] = field(default_factory=set)
    audio_s: Counter[float] = field(default_factory=Counter)
    frames: Counter[float] = field(default_factory=Counter)
    bytes: Counter[float] = field(default_factory=Counter)
    sizes: Counter[str] = field(default_factory=Counter)
    rates: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)
    unlabelled: int = 0
    with_boxes: int = 0
    with_keypoints: int = 0
    with_segment_labels: int = 0

    def add(self, facts: Facts) -> None:
        """Count a sample."""
        metadata = facts.metadata
        seconds = metadata.audio_samples / metadata.audio_rate_hz
        self.samples += 1
        self.seconds += seconds
        self.layouts.add(metadata.layout)
        self.audio_s[round(seconds, 2)] += 1
        self.frames[len(metadata.frame_times_s)] += 1
        self.bytes[round(facts.bytes, -3)] += 1
        self.rates[str(metadata.audio_rate_hz)] += 1
        self.labels.update(metadata.labels)
        self.unlabelled += not metadata.labels
        self.with_boxes += metadata.boxes is not None
        self.with_keypoints += metadata.keypoints is not None
        self.with_segment_labels += metadata.segment_labels is not None
        if facts.size is not None:
            self.sizes[f"{facts.size[0]}×{facts.size[1]}"] += 1
        if metadata.split is not None:
            self.splits[metadata.split] += 1


def summarise(contents: Contents, most_samples: int | None, seed: int) -> ShardSetSummary:
    """The figures of a shard set, finished or not.

    Args:
        most_samples: how many samples are looked at; None looks at all.

    Raises:
        ShardSetError: the JSON of a shard is damaged.
        StorageError: a file can't be read.
    """
    if most_samples is None:
        totals = count(contents, read_indexes(contents.url, contents.done))
        chosen = every(contents)
    else:
        known = some_indexes(contents, seed) if contents.dataset is None else None
        totals = count(contents, (known or {}).values())
        chosen = iter(choose(contents, most_samples, seed, known))
    seen = _Seen()
    for found in read_each(contents, chosen, HEAD_BYTES, read_facts):
        if isinstance(found, Facts):
            seen.add(found)
        else:
            seen.unreadable.append(found)
    plan = contents.plan
    layouts = [] if plan is None else [str(plan.settings.get("layout"))]
    return ShardSetSummary(
        url=contents.url,
        finished=contents.dataset is not None,
        shards_done=len(contents.done),
        shards_planned=contents.planned,
        videos=totals.videos,
        videos_planned=None if plan is None else plan.videos,
        failed=totals.failed,
        samples=totals.samples,
        estimated=totals.estimated,
        reasons=dict(totals.reasons.most_common()),
        examples=totals.examples,
        bytes=sum(contents.tars.values()),
        samples_per_shard=_spread(Counter(map(float, totals.per_shard))),
        settings=None if plan is None else plan.settings,
        layouts=sorted(seen.layouts) or layouts,
        looked_at=seen.samples,
        unreadable=seen.unreadable,
        audio_hours=seen.seconds / max(1, seen.samples) * totals.samples / 3600,
        audio_s=_spread(seen.audio_s),
        frames=_spread(seen.frames),
        sample_bytes=_spread(seen.bytes),
        resolutions=dict(seen.sizes.most_common(_TOP)),
        audio_rates_hz=dict(seen.rates.most_common(_TOP)),
        labels=dict(seen.labels.most_common(_TOP)),
        different_labels=len(seen.labels),
        unlabelled=seen.unlabelled,
        splits=dict(seen.splits.most_common(_TOP)),
        with_boxes=seen.with_boxes,
        with_keypoints=seen.with_keypoints,
        with_segment_labels=seen.with_segment_labels,
        notes=[f"{file}: {what}" for file, what in contents.problems],
    )


def _spread(values: Counter[float]) -> Spread | None:
    """Least, middle and most of quantities by how often they came."""
    if not values:
        return None
    half = (values.total() + 1) // 2
    for value in sorted(values):
        half -= values[value]
        if half <= 0:
            return Spread(min(values), value, max(values))
    raise AssertionError("half of the values are at most the greatest")
