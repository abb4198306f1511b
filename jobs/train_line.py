"""The live line of `gavt train`."""

from collections.abc import Sequence
from itertools import groupby
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from pipeline.tasks.contract import Metric
from pipeline.train.metric_names import VALIDATION, in_words, is_shown

_TOLD_DIFFERENCE = 0.05


class TrainLine:
    """Step, the task's metrics that are shown, samples/s, model FLOPs utilisation where it is known, share of time
    waiting for data, remaining time; beside a metric the one that checks it, where they lie apart, and in validation
    its ceiling; skipped steps, what the task counts of trouble and bad samples, and after a restart goodput. Where
    there is no terminal, a line of text every tenth of the run and at each validation."""

    def __init__(
        self,
        console: Console,
        steps: int,
        folder: str,
        metrics: Sequence[Metric],
        shown: bool,
        label_aided: str | None = None,
    ) -> None:
        """`label_aided` is what must stand beside the figures, where labels help: whole before the first one, its first
        word in each line."""
        self.label_aided = label_aided
        self.console, self.steps, self.folder, self.shown = console, steps, folder, shown
        self.metrics = _Metrics(metrics)
        self.live = shown and console.is_terminal
        self.validation = ""
        self.printed = 0
        self.progress = Progress(
            TextColumn("train"),
            BarColumn(bar_width=12),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
            TimeRemainingColumn(),
            console=console,
            disable=not self.live,
            expand=True,
        )

    def __enter__(self) -> "TrainLine":
        if self.shown:
            self.console.print(f"run folder: {self.folder}")
            if self.label_aided is not None:
                self.console.print(self.label_aided)
        self.progress.start()
        self.task = self.progress.add_task("train", total=self.steps, numbers="")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.progress.stop()

    def tell(self, event: dict[str, Any]) -> None:
        """Print an event that a person should know of."""
        if self.shown and (words := _said(event)):
            self.console.print(words, soft_wrap=True, markup=False, highlight=False)

    def update(self, record: dict[str, Any]) -> None:
        """Show a step's numbers."""
        validated = any(name.startswith(VALIDATION) for name in record)
        if validated:
            self.validation = f"validation {self.metrics.validation(record)}"
        words = [self.validation] if self.validation else []
        if self.metrics.loss in record:
            pace = f"{_rate(record)} samples/s{_utilisation(record)}"
            waiting = f"waiting for data {record['data_wait']:.0%}"
            words = [self.metrics.training(record), *words, pace, waiting, *self._trouble(record)]
        numbers = " · ".join([*([] if self.label_aided is None else ["label-aided"]), *words])
        self.progress.update(self.task, completed=record["step"], numbers=numbers)
        due = record["step"] >= self.printed + self.steps / 10 or validated
        if self.shown and not self.live and (due or record["step"] == self.steps):
            self.printed = record["step"]
            self.console.print(f"step {record['step']}/{self.steps} · {numbers}")

    def _trouble(self, record: dict[str, Any]) -> list[str]:
        """What matters only where something went wrong."""
        words = [f"goodput {record['goodput']:.0%}"] if "event/resume" in record else []
        if bad := record.get("event/bad_step"):
            words.append(f"{bad} bad steps")
        words += self.metrics.counts(record)
        if replaced := record["replaced_samples"]:
            words.append(f"{replaced:.0f} bad samples replaced")
        return words


class _Metrics:
    """A task's metrics of a record, in words.

    Attributes:
        loss: name of what is trained on.
    """

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self.loss = metrics[0].name
        self._shown = [metric for metric in metrics if is_shown(metric)]
        self._counts = [metric.name for metric in metrics if metric.unit == "count"]

    def training(self, record: dict[str, Any]) -> str:
        if record[self.loss] is None:
            return "all steps skipped" if record.get("skipped_steps") else f"no {in_words(self.loss)}"
        return self._told(record, "", self._shown)

    def validation(self, record: dict[str, Any]) -> str:
        """Without the losses, where there is something else."""
        told = [metric for metric in self._shown if f"{VALIDATION}{metric.name}" in record]
        return self._told(record, VALIDATION, [one for one in told if one.unit != "loss"] or told)

    def counts(self, record: dict[str, Any]) -> list[str]:
        return [f"{record[name]:.0f} {in_words(name)}" for name in self._counts if record.get(name)]

    def _told(self, record: dict[str, Any], prefix: str, metrics: Sequence[Metric]) -> str:
        """Those that have a number; of one task they stand together, behind its name."""
        known = [metric for metric in metrics if record.get(prefix + metric.name) is not None]
        told = []
        for task, own in groupby(known, lambda metric: metric.name.rpartition("/")[0]):
            words = [_told(record, prefix, metric) for metric in own]
            told.append(f"{task} {', '.join(words)}" if task else " · ".join(words))
        return " · ".join(told) or "no number"


def _told(record: dict[str, Any], prefix: str, metric: Metric) -> str:
    value = record[prefix + metric.name]
    words = f"{_short(metric.name)} {_number(metric, value)}"
    if metric.checked_by is not None:
        check = record.get(prefix + metric.checked_by)
        if check is not None and abs(value - check) > _TOLD_DIFFERENCE:
            words += f" ({_short(metric.checked_by)} {_number(metric, check)})"
    if metric.ceiling is not None:
        ceiling = record.get(prefix + metric.ceiling)
        if ceiling is not None and (metric.unit != "share" or ceiling < 1):
            words += f" of at most {_number(metric, ceiling)}"
    return words


def _short(name: str) -> str:
    """Without the task's name."""
    return in_words(name.rpartition("/")[2])


def _number(metric: Metric, value: float) -> str:
    match metric.unit:
        case "loss":
            return f"{value:.4f}"
        case "share":
            return f"{value:.1%}"
        case _:
            return f"{value:.4g}"


def _said(event: dict[str, Any]) -> str | None:
    step = event.get("step")
    match event["event"]:
        case "resume":
            changed = event.get("changed", {})
            words = [f"{name} {_plain(one['from'])} → {_plain(one['to'])}" for name, one in changed.items()]
            return "; ".join([f"goes on after step {step}", *words])
        case "data" | "average" | "micro_batch":
            return f"goes on with a change: {event['change']}"
        case "wandb" | "clock" | "start_from":
            return str(event["said"])
        case "warning":
            return f"step {step}: {event['reason']}"
        case "rollback":
            return f"step {step}: {event['reason']}; the weights of step {event['checkpoint']} again"
        case _:
            return None


def _plain(value: Any) -> str:
    return "none" if value is None else str(value)


def _rate(record: dict[str, Any]) -> str:
    rate = record["samples_per_s"]
    return f"{rate:.0f}" if rate >= 10 else f"{rate:.2g}"


def _utilisation(record: dict[str, Any]) -> str:
    return f" · MFU {record['mfu']:.0%}" if "mfu" in record else ""
