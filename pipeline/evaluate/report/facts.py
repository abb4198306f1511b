"""What was run: steps, samples, time, versions."""

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, NamedTuple

from pipeline.evaluate.coverage import said_of_coverage
from pipeline.evaluate.measures.contract import Table


class Fact(NamedTuple):
    """A line of "What was run"."""

    name: str
    value: str


def facts_of_run(
    records: Sequence[Mapping[str, Any]],
    events: Sequence[Mapping[str, Any]],
    manifest: Mapping[str, Any] | None,
    evaluation: Mapping[str, Any] | None,
    tables: Sequence[Table] = (),
) -> list[Fact]:
    """The facts that the run's files tell; what they don't is left out."""
    facts = []
    if records:
        last = {name: value for record in records for name, value in record.items()}
        facts.append(Fact("steps", f"{last['step']:,}"))
        if "samples" in last:
            facts.append(Fact("samples seen", f"{last['samples']:,} ({last['epoch']:.1f} epochs)"))
        speeds = sorted(record["samples_per_s"] for record in records if "samples_per_s" in record)
        if speeds:
            facts.append(Fact("speed, median", f"{speeds[len(speeds) // 2]:,.0f} samples/s"))
        uses = sorted(record["mfu"] for record in records if "mfu" in record)
        if uses:
            facts.append(
                Fact(
                    "model FLOPs utilisation, median",
                    f"{100 * uses[len(uses) // 2]:.1f} % of what the GPUs can compute",
                )
            )
        if "memory_gib" in last:
            facts.append(Fact("most memory of a process", f"{last['memory_gib']:.1f} GiB"))
        if "goodput" in last:
            facts.append(Fact("goodput", f"{100 * last['goodput']:.1f} % of the time since the first start"))
    if seconds := _seconds_running(events):
        facts.append(Fact("time in training", duration(seconds)))
    for event, words in (
        ("resume", "went on after a stop"),
        ("bad_step", "bad steps left out"),
        ("rollback", "rollbacks"),
    ):
        if times := sum(entry.get("event") == event for entry in events):
            facts.append(Fact(words, f"{times} ×"))
    if manifest is not None:
        processes = manifest["world_size"]
        saved_by = "one process" if processes == 1 else f"{processes} processes"
        facts.append(Fact("newest checkpoint", f"step {manifest['step']:,}, saved by {saved_by}"))
        for name, number in dict(manifest.get("versions", {})).items():
            facts.append(Fact(f"{name}, in training", str(number)))
    if evaluation is not None:
        facts.append(Fact("evaluated", f"step {evaluation['step']:,} on {evaluation['data']}"))
        of_each = "".join(f"; {table.title}: {table.samples:,}" for table in tables)
        facts.append(Fact("samples evaluated", f"{evaluation['samples']:,}{of_each}"))
        facts.append(Fact("of what was listed", said_of_coverage(evaluation["coverage"])))
        facts.append(Fact("choices made on", evaluation["validation"] or "nothing (no validation split was given)"))
    facts.append(Fact("page made by", f"gavt {version('gavt')}, Python {platform.python_version()}"))
    return facts


def duration(seconds: float) -> str:
    """Hours, minutes and seconds, the two largest of them."""
    hours, rest = divmod(round(seconds), 3600)
    minutes, left = divmod(rest, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {left} s" if minutes else f"{left} s"


def _seconds_running(events: Sequence[Mapping[str, Any]]) -> float:
    """Time from each start or resume to the last event before the next one; neither pauses count, nor a clock that was
    set back in between."""
    total, last = 0.0, None
    for event in events:
        if last is not None and event.get("event") not in {"start", "resume"}:
            total += max(0.0, event["time"] - last)
        last = event["time"]
    return total
