"""The figures of a shard set as people read them."""

from pipeline.inspect.summary import ShardSetSummary, Spread


def figures_of(summary: ShardSetSummary) -> list[tuple[str, str, str]]:
    """(name, value, what to read it against) of the most important figures."""
    about = "about " if summary.estimated else ""
    exact = "" if summary.looked_at >= summary.samples else "about "
    planned = "" if summary.shards_planned is None else f"of {summary.shards_planned:,} planned"
    videos = "" if summary.videos_planned is None else f"of {summary.videos_planned:,} in the plan"
    share = f"{100 * summary.failed / summary.videos:.1f} % of the videos" if summary.videos else ""
    return [
        ("samples", f"{about}{summary.samples:,}", ", ".join(summary.layouts)),
        ("videos", f"{about}{summary.videos:,}", videos),
        ("failed", f"{about}{summary.failed:,}", share),
        ("audio", f"{exact}{hours(summary.audio_hours)}", f"{spread(summary.audio_s)} s a sample"),
        ("size", size(summary.bytes), f"{_sizes(summary.sample_bytes)} a sample"),
        ("shards", f"{summary.shards_done:,}", planned),
    ]


def spread(values: Spread | None, digits: int = 2) -> str:
    """Least, middle and most, as one value where they are the same."""
    if values is None:
        return "–"
    least, median, most = (_plain(value, digits) for value in (values.least, values.median, values.most))
    return median if least == most else f"{least} – {median} – {most}"


def size(count: float) -> str:
    """Bytes in the unit that fits."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.2f} TB"


def hours(value: float) -> str:
    """A length in hours, minutes or seconds."""
    if value >= 1:
        return f"{value:,.1f} h"
    return f"{60 * value:.1f} min" if value >= 1 / 60 else f"{3600 * value:.0f} s"


def _plain(value: float, digits: int) -> str:
    return f"{value:,.{digits}f}".rstrip("0").rstrip(".") if digits else f"{value:,.0f}"


def _sizes(values: Spread | None) -> str:
    if values is None:
        return "–"
    if values.least == values.most:
        return size(values.median)
    return f"{size(values.least)} – {size(values.median)} – {size(values.most)}"
