"""Comparing the curves of runs: their records step by step, what only one of them has, and the settings in which they
differ."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from cluster import storage
from cluster.errors import StorageError
from cluster.json_text import parse_json
from pipeline.errors import RunError, SettingsError
from pipeline.settings.load import load_settings
from pipeline.settings.yaml_text import parse_yaml
from pipeline.tasks.contract import Metric
from pipeline.train.metric_names import VALIDATION, is_number, is_shown, metrics_of
from pipeline.train.records.metrics_log import Record
from pipeline.train.run_settings import CONFIG, RunSettings

_METRICS = "metrics.jsonl"
GRADIENT = Metric("grad_norm", "number")
"""What every run has beside its task's metrics."""


@dataclass(frozen=True)
class RecordedRun:
    """A run as it is compared.

    Attributes:
        url: its folder.
        records: by step.
        settings: by dotted name.
        metrics: what its task measures; where nobody here knows that task, what its records say (`metrics_of`).
        label_aided: what must stand beside its figures, where labels helped.
        unread: why its settings can't be read here, in a sentence; their values are compared as they are written.
    """

    url: str
    records: Mapping[int, Record]
    settings: Mapping[str, Any]
    metrics: tuple[Metric, ...]
    label_aided: str | None = None
    unread: str | None = None

    @property
    def curves(self) -> dict[str, Metric]:
        """Its metrics by their names in records: those of training, then those of validation."""
        every = {metric.name: metric for metric in (*self.metrics, GRADIENT)}
        return every | {VALIDATION + metric.name: metric for metric in self.metrics}


@dataclass(frozen=True)
class CurveDifference:
    """How one curve of a run differs from that of the first.

    Attributes:
        curve: name of the metric.
        judged: whether a tolerance is for it: it is a loss.
        steps: at which both have it.
        largest: largest relative difference, |a − b| / max(|a|, |b|); 0 where both are 0.
        mean: of the relative differences.
        largest_at: step of the largest.
        parts_at: first step at which the values are not the same, or none.
        outside_at: first step at which the difference is above the tolerance, or none.
    """

    curve: str
    judged: bool
    steps: int
    largest: float
    mean: float
    largest_at: int
    parts_at: int | None
    outside_at: int | None


def read_run(url: str) -> RecordedRun:
    """A run folder (path or URL).

    Raises:
        RunError: it has no metrics.
    """
    metrics_url, config = storage.join(url, _METRICS), storage.join(url, CONFIG)
    if not storage.exists(metrics_url):
        raise RunError(f"{url}: expected a run folder with {_METRICS}, found none")
    task, unread = None, None
    try:
        known = load_settings(config, RunSettings, recorded=True).settings
        settings, task = known.model_dump(mode="json"), known.task
    except SettingsError as error:  # of a task from elsewhere, or of another version
        settings, unread = _written(config, error), str(error)
    records = _read_records(metrics_url)
    aided = None if task is None else task.label_aided
    run = RecordedRun(url, records, dict(_flat(settings, "")), metrics_of(task, records.values()), aided, unread)
    for step, record in records.items():
        for curve in run.curves:
            if not (record.get(curve) is None or is_number(record[curve])):
                raise RunError(f"{metrics_url}: step {step}: expected numbers, found {curve} {record[curve]!r}")
    return run


def _written(config: str, error: SettingsError) -> Any:
    """Settings as they stand in a file in which `error` was found; raises it where that says nothing."""
    try:
        settings = parse_yaml(storage.read_text(config))
    except (StorageError, yaml.YAMLError):
        raise error from None
    if not isinstance(settings, dict):
        raise error from None
    return {name: value for name, value in settings.items() if name in RunSettings.model_fields}


def _read_records(url: str) -> dict[int, Record]:
    records: dict[int, Record] = {}
    # what follows the last line's end was torn by a kill, or is being written
    for number, line in enumerate(storage.read_text(url).split("\n")[:-1], 1):
        try:
            record = parse_json(line)
            step = int(record["step"])
        except (ValueError, KeyError, TypeError, OverflowError):
            raise RunError(
                f"{url}: line {number}: expected a JSON object with a step and numbers, found {line[:80]!r}"
            ) from None
        records[step] = records.get(step, {}) | record
    if not records:
        raise RunError(f"{url}: expected records of training, found none")
    return records


@dataclass(frozen=True)
class Comparison:
    """A run beside the first.

    Attributes:
        differences: of each curve that both have, at the steps that both have recorded.
        lacking: a sentence for each thing that can't be compared, as only one of the two has it: a curve that is shown,
            steps of it, or any loss at all. Where there is one the runs are not alike, however small the differences.
    """

    differences: list[CurveDifference]
    lacking: list[str]

    @property
    def alike(self) -> bool:
        """Whether nothing is lacking, and no loss lies outside the tolerance."""
        return not self.lacking and all(row.outside_at is None for row in self.differences if row.judged)


def compare_curves(first: RecordedRun, other: RecordedRun, tolerance: float = 0.0) -> Comparison:
    """Compare a run with the first one."""
    curves = first.curves | {curve: metric for curve, metric in other.curves.items() if curve not in first.curves}
    judged = {curve for run in (first, other) for curve, metric in run.curves.items() if metric.unit == "loss"}
    found = (_compare(curve, curve in judged, first, other, tolerance) for curve in curves)
    differences = [difference for difference in found if difference is not None]
    needed = [curve for curve, metric in curves.items() if is_shown(metric)]
    return Comparison(differences, list(_lacking(first, other, needed, differences)))


def _lacking(
    first: RecordedRun, other: RecordedRun, curves: Iterable[str], differences: Sequence[CurveDifference]
) -> Iterator[str]:
    for curve in curves:
        has = {run.url: [step for step, record in run.records.items() if curve in record] for run in (first, other)}
        for one, two in ((first, other), (other, first)):
            steps = _only_in(has[one.url], has[two.url], curve, one, two)
            if has[one.url] and not has[two.url]:
                yield f"{two.url}: no {curve}, which {one.url} has at {_count(has[one.url])}"
            elif steps:
                yield f"{two.url}: no {curve} at {_count(steps)} that {one.url} has"
    if not any(row.judged and not row.curve.startswith(VALIDATION) for row in differences):
        yield f"{other.url}: no loss to compare with {first.url} at any step"


def _only_in(
    has: Sequence[int], other_has: Sequence[int], curve: str, run: RecordedRun, other: RecordedRun
) -> list[int]:
    """Steps at which a run has a curve, and the other one has not though it would have recorded it."""
    name = "train.validate_every" if curve.startswith(VALIDATION) else "train.log_every"
    alone = sorted(set(has) - set(other_has))
    every, last = other.settings.get(name), other.settings.get("train.steps")
    if not (is_number(every) and every) or (run.settings.get(name), run.settings.get("train.steps")) == (every, last):
        return alone
    return [step for step in alone if step % every == 0 or step == last]


def _count(steps: Sequence[int]) -> str:
    return f"step {steps[0]}" if len(steps) == 1 else f"{len(steps)} steps from {min(steps)} to {max(steps)}"


def differing_settings(runs: Sequence[RecordedRun]) -> dict[str, list[Any]]:
    """Settings that are not the same in all runs, each with its value in every run."""
    names = sorted({name for run in runs for name in run.settings})
    values = {name: [run.settings.get(name) for run in runs] for name in names}
    return {name: found for name, found in values.items() if any(value != found[0] for value in found)}


def _compare(
    curve: str, judged: bool, first: RecordedRun, other: RecordedRun, tolerance: float
) -> CurveDifference | None:
    differences: dict[int, float] = {}
    for step in sorted(first.records.keys() & other.records.keys()):
        a, b = first.records[step].get(curve), other.records[step].get(curve)
        if a is not None and b is not None:
            differences[step] = _relative(a, b)
        elif a is not b and curve in first.records[step] and curve in other.records[step]:
            differences[step] = math.inf  # a number here, none there: that step was left out
    if not differences:
        return None
    largest_at = max(differences, key=lambda step: differences[step])
    return CurveDifference(
        curve=curve,
        judged=judged,
        steps=len(differences),
        largest=differences[largest_at],
        mean=sum(differences.values()) / len(differences),
        largest_at=largest_at,
        parts_at=next((step for step, difference in differences.items() if difference > 0), None),
        outside_at=next((step for step, difference in differences.items() if difference > tolerance), None),
    )


def _relative(a: float, b: float) -> float:
    if a == b:
        return 0.0
    if not (math.isfinite(a) and math.isfinite(b)):
        return 0.0 if math.isnan(a) and math.isnan(b) else math.inf
    return abs(a - b) / max(abs(a), abs(b))


def _flat(settings: Any, place: str) -> list[tuple[str, Any]]:
    if isinstance(settings, dict) and settings:
        pairs = [_flat(value, f"{place}.{name}" if place else name) for name, value in settings.items()]
        return [pair for found in pairs for pair in found]
    return [(place, settings)]
