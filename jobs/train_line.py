"""The live line of `gavt train`."""

from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

_TOLD_DIFFERENCE = 0.05


class TrainLine:
    """Step, loss, accuracy, samples/s, model FLOPs utilisation where it is known, share of time waiting for data,
    remaining time; where matches and mismatches are not told equally well the balanced accuracy; skipped steps, samples
    without a partner and bad samples, and after a restart goodput. Where there is no terminal, a line of text every
    tenth of the run and at each validation."""

    def __init__(self, console: Console, steps: int, folder: str, shown: bool) -> None:
        self.console, self.steps, self.folder, self.shown = console, steps, folder, shown
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
        if "validation/accuracy" in record:
            self.validation = f" · validation {_accuracy(record, 'validation/')}{_ceiling(record)}"
        numbers = self.validation.removeprefix(" · ")
        if "loss" in record:
            numbers = (
                f"{_learning(record)}{self.validation} · {_rate(record)} samples/s{_utilisation(record)}"
                f" · waiting for data {record['data_wait']:.0%}{_trouble(record)}"
            )
        self.progress.update(self.task, completed=record["step"], numbers=numbers)
        due = record["step"] >= self.printed + self.steps / 10 or "validation/accuracy" in record
        if self.shown and not self.live and (due or record["step"] == self.steps):
            self.printed = record["step"]
            self.console.print(f"step {record['step']}/{self.steps} · {numbers}")


def _said(event: dict[str, Any]) -> str | None:
    step = event.get("step")
    match event["event"]:
        case "resume":
            changed = event.get("changed", {})
            words = [f"{name} {_plain(one['from'])} → {_plain(one['to'])}" for name, one in changed.items()]
            return "; ".join([f"goes on after step {step}", *words])
        case "data" | "average" | "micro_batch":
            return f"goes on with a change: {event['change']}"
        case "wandb" | "clock":
            return str(event["said"])
        case "unpaired":
            return f"step {step}: {event['reason']}"
        case "rollback":
            return f"step {step}: {event['reason']}; the weights of step {event['checkpoint']} again"
        case _:
            return None


def _plain(value: Any) -> str:
    return "none" if value is None else str(value)


def _learning(record: dict[str, Any]) -> str:
    if record["loss"] is None:
        return "all steps skipped" if record.get("skipped_steps") else "no pair that counts"
    return f"loss {record['loss']:.4f} · accuracy {_accuracy(record)}"


def _ceiling(record: dict[str, Any]) -> str:
    """Where nobody could tell all of the pairs."""
    ceiling = record.get("validation/ceiling", 1.0)
    return f" of at most {ceiling:.3f}" if ceiling < 1 else ""


def _accuracy(record: dict[str, Any], prefix: str = "") -> str:
    accuracy, balanced = record[f"{prefix}accuracy"], record.get(f"{prefix}balanced_accuracy")
    if accuracy is None:
        return "no number"
    differs = balanced is not None and abs(accuracy - balanced) > _TOLD_DIFFERENCE
    return f"{accuracy:.3f}{f' (balanced {balanced:.3f})' if differs else ''}"


def _rate(record: dict[str, Any]) -> str:
    rate = record["samples_per_s"]
    return f"{rate:.0f}" if rate >= 10 else f"{rate:.2g}"


def _utilisation(record: dict[str, Any]) -> str:
    return f" · MFU {record['mfu']:.0%}" if "mfu" in record else ""


def _trouble(record: dict[str, Any]) -> str:
    """What matters only where something went wrong."""
    words = f" · goodput {record['goodput']:.0%}" if "event/resume" in record else ""
    if bad := record.get("event/bad_step"):
        words += f" · {bad} bad steps"
    if unpaired := record.get("unpaired_samples"):
        words += f" · {unpaired:.0f} samples without a partner"
    if replaced := record["replaced_samples"]:
        words += f" · {replaced:.0f} bad samples replaced"
    return words
