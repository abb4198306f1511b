"""What is in lists of videos, in figures."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from pipeline.prepare.manifests.row import VideoRow


@dataclass
class ListSummary:
    """Figures of rows.

    Attributes:
        rows: how many.
        splits, labels: rows of each; rows of no split count under None.
        kinds: rows by where their videos are: `local`, `s3://bucket`, `https://host`, `youtube`, …
        ranges: rows about a part with a beginning and an end.
        range_s: length (s) of these parts in all.
        shortest_s, longest_s: of these parts; None without any.
        boxes: rows with boxes.
        segments: rows with labels of segments.
    """

    rows: int = 0
    splits: Counter[str | None] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    ranges: int = 0
    range_s: float = 0.0
    shortest_s: float | None = None
    longest_s: float | None = None
    boxes: int = 0
    segments: int = 0


def summarise(rows: Iterable[VideoRow]) -> ListSummary:
    """Figures of all rows, in one pass."""
    summary = ListSummary()
    for row in rows:
        summary.rows += 1
        summary.splits[row.split] += 1
        summary.labels.update(row.labels)
        summary.kinds[kind_of(row.source)] += 1
        summary.boxes += row.boxes is not None
        summary.segments += row.segment_labels is not None
        if row.end_s is not None:
            length = row.end_s - (row.start_s or 0.0)
            summary.ranges += 1
            summary.range_s += length
            summary.shortest_s = length if summary.shortest_s is None else min(length, summary.shortest_s)
            summary.longest_s = length if summary.longest_s is None else max(length, summary.longest_s)
    return summary


def kind_of(source: str) -> str:
    """Where a video is: `local`, `s3://bucket`, `https://host`, or the kind of its id, such as `youtube`."""
    if source.startswith("/"):
        return "local"
    scheme, separator, rest = source.partition("://")
    if separator:
        return f"{scheme}://{rest.partition('/')[0]}"
    return source.partition(":")[0]
