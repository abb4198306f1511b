"""The live line of `gavt train`."""

from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class TrainLine:
    """Step, loss, accuracy, samples/s, share of time waiting for data, remaining time. Where there is no terminal, a
    line of text every tenth of the run and at each validation."""

    def __init__(self, console: Console, steps: int, folder: str, shown: bool) -> None:
        self.console, self.steps, self.folder, self.shown = console, steps, folder, shown
        self.live = shown and console.is_terminal
        self.validation = ""
        self.printed = 0
        self.progress = Progress(
            TextColumn("train"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not self.live,
        )

    def __enter__(self) -> "TrainLine":
        if self.shown:
            self.console.print(f"run folder: {self.folder}")
        self.progress.start()
        self.task = self.progress.add_task("train", total=self.steps, numbers="")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.progress.stop()

    def update(self, record: dict[str, Any]) -> None:
        """Show a step's numbers."""
        if "validation/accuracy" in record:
            self.validation = f" · validation {record['validation/accuracy']:.3f}"
        numbers = self.validation.removeprefix(" · ")
        if "loss" in record:
            numbers = (
                f"loss {record['loss']:.4f} · accuracy {record['accuracy']:.3f}{self.validation}"
                f" · {record['samples_per_s']:.0f} samples/s · waiting for data {record['data_wait']:.0%}"
            )
        self.progress.update(self.task, completed=record["step"], numbers=numbers)
        due = record["step"] >= self.printed + self.steps / 10 or "validation/accuracy" in record
        if self.shown and not self.live and (due or record["step"] == self.steps):
            self.printed = record["step"]
            self.console.print(f"step {record['step']}/{self.steps} · {numbers}")
