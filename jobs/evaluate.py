"""`gavt evaluate`: what a trained model knows, beside what needs no model."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from jobs.output import JsonFlag, Overrides, console, print_json

if TYPE_CHECKING:
    from pipeline.evaluate.measures.alignment import MmaResult
    from pipeline.evaluate.result import Evaluation

_FIGURES = {
    "pointing": "pointing",
    "ciou": "cIoU",
    "auc": "AUC",
    "ciou_adap": "cIoU_adap",
    "iiou": "IIoU",
    "iiou_adap": "IIoU_adap",
}
_STYLES = {"readout": None, "model": "bold", "control": "cyan", "ceiling": "dim"}


def evaluate(
    checkpoint: Annotated[str, typer.Option(help="Run folder, its checkpoints/ or one checkpoint, local or s3://.")],
    data: Annotated[str, typer.Option(help="Shard set to evaluate on, local or s3://.")],
    validation: Annotated[
        str | None, typer.Option(help="Shard set that chooses the readout; by default the run's data.validation.")
    ] = None,
    out: Annotated[
        str | None, typer.Option(help="Folder of evaluation.json; by default the run folder of the checkpoint.")
    ] = None,
    config: Annotated[str | None, typer.Option(help="Settings file; by default the run's config.yaml.")] = None,
    overrides: Overrides = None,
    as_json: JsonFlag = False,
) -> None:
    """Judge a checkpoint: alignment, and maps of where the sound comes from, beside rows that ignore the sound."""
    from pipeline.evaluate.evaluate import evaluate as evaluate_checkpoint
    from pipeline.evaluate.run_files import config_of, run_folder
    from pipeline.experiment import ExperimentSettings
    from pipeline.settings.load import load_settings
    from pipeline.train.checkpoints import find_checkpoint

    found = find_checkpoint(checkpoint)  # before anything else is said about its run
    settings = load_settings(config or config_of(found.url), ExperimentSettings, overrides or []).settings
    target = out or run_folder(found.url)
    with _Bars(as_json) as bars:

        def show(result: "Evaluation") -> None:
            bars.stop()
            _print(result, target, as_json)
            if as_json:
                print_json({**result, "out": target})

        evaluate_checkpoint(
            checkpoint, data, validation or settings.data.validation, target, settings.evaluate, bars.show, show
        )


class _Bars:
    """A progress bar for each part of the evaluation."""

    def __init__(self, as_json: bool) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=console(as_json), transient=True)
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> "_Bars":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Take the bars off the screen."""
        self._progress.stop()

    def show(self, doing: str, done: int, total: int) -> None:
        if doing not in self._tasks:
            self._tasks[doing] = self._progress.add_task(doing, total=total)
        self._progress.advance(self._tasks[doing], done)


def _print(result: "Evaluation", target: str, as_json: bool) -> None:
    from pipeline.evaluate.sentences import how_judged

    screen = console(as_json)
    table = Table("row", *_FIGURES.values(), "made by", box=None, pad_edge=False)
    for column in table.columns[1:-1]:
        column.justify = "right"
    kind = None
    for row in result["rows"]:
        if kind is not None and row["kind"] != kind:
            table.add_section()
        kind = row["kind"]
        figures = [_percent(row[name]) for name in _FIGURES]  # type: ignore[literal-required]  # names of Row's keys
        table.add_row(row["name"], *figures, row["readout"] or "", style=_STYLES[kind])
    if result["label_aided"]:
        screen.print(result["label_aided"], style="bold yellow", soft_wrap=True)
    screen.print(table)
    screen.print(_alignment(result["mma"]))
    for sentence in how_judged(result):
        screen.print(sentence, soft_wrap=True)
    if result["note"]:
        screen.print(result["note"], soft_wrap=True)
    for sentence in result["warnings"]:
        screen.print(f"warning: {sentence}", style="yellow", soft_wrap=True)
    screen.print(f"step {result['step']}, {result['located']} of {result['samples']} samples with boxes → {target}")


def _alignment(mma: "MmaResult") -> Table:
    """Multi-modal alignment, with what the model makes of no sound."""
    table = Table("multi-modal alignment", "", "", box=None, pad_edge=False)
    table.columns[1].justify = "right"
    ceiling = "unknown" if mma["ceiling"] is None else f"{_percent(mma['ceiling'])} %"
    table.add_row("pairs told right", _percent(mma["accuracy"]), f"of {mma['pairs']}; ceiling {ceiling}, guessing 50 %")
    table.add_row("silence called a match", _percent(mma["silence"]), "Eq. 7 takes it for no match", style="cyan")
    table.add_row("noise called a match", _percent(mma["noise"]), "as loud as the sound", style="cyan")
    return table


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"
