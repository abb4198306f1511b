"""`gavt evaluate`: what a trained model knows, beside what needs no model."""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from jobs.output import JsonFlag, Overrides, complain, console, print_json
from jobs.tables import print_tables

if TYPE_CHECKING:
    from cluster.launch import Failure
    from cluster.process_group import ProcessGroup
    from pipeline.evaluate.result import Evaluation

Sweep = Literal["attention"]


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
    sweep: Annotated[
        Sweep | None,
        typer.Option(help="Judge all ways to read the model's attention instead, and draw them side by side."),
    ] = None,
    nproc: Annotated[
        int, typer.Option(min=1, help="Processes on this machine that share the work: one a GPU, say.")
    ] = 1,
    as_json: JsonFlag = False,
) -> None:
    """Judge a checkpoint by the settings' measures: alignment, and maps of where the sound comes from, beside rows that
    ignore the sound."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning threads would take the cores from the loader
    from cluster.job_environment import JobEnvironment
    from cluster.launch import launch_local

    job = JobEnvironment.of_this_process()
    if nproc > 1 and not job.is_launched:
        code = launch_local([sys.executable, "-m", "jobs.cli", *sys.argv[1:]], nproc, on_crash=_say_crash)
        if code:
            raise SystemExit(code)
        return
    from pipeline.evaluate.evaluate import evaluate as evaluate_checkpoint
    from pipeline.evaluate.result import ATTENTION_SWEEP, EVALUATION
    from pipeline.evaluate.run_files import config_of, run_folder
    from pipeline.experiment import ExperimentSettings
    from pipeline.settings.load import load_settings
    from pipeline.train.checkpoints import find_checkpoint

    with ExitStack() as stack:
        group = stack.enter_context(_joined()) if job.is_launched else None
        found = find_checkpoint(checkpoint)  # before anything else is said about its run
        settings = load_settings(config or config_of(found.url), ExperimentSettings, overrides or []).settings
        judged = settings.evaluate if sweep is None else settings.evaluate.sweeping_attention
        target = out or run_folder(found.url)
        bars = stack.enter_context(_Bars(as_json, shown=job.is_main))

        def show(result: "Evaluation") -> None:
            bars.stop()
            _print(result, target, as_json)
            if as_json:
                print_json({**result, "out": target})

        evaluate_checkpoint(
            checkpoint,
            data,
            (validation or settings.data.validation) if sweep is None else None,
            target,
            judged,
            settings.data,
            group,
            bars.show,
            show,
            EVALUATION if sweep is None else ATTENTION_SWEEP,
        )


@contextmanager
def _joined() -> "Iterator[ProcessGroup]":
    """The group of the processes that were started together."""
    from cluster.process_group import join_process_group

    group = join_process_group()
    try:
        yield group
    finally:
        group.leave()


def _say_crash(failure: "Failure", left: int | None) -> None:
    complain(f"{failure}; giving up")


class _Bars:
    """A progress bar for each part of the evaluation."""

    def __init__(self, as_json: bool, shown: bool) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=console(as_json), transient=True, disable=not shown)
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
    from pipeline.evaluate.measures.contract import tables_of

    screen = console(as_json)
    if result["label_aided"]:
        screen.print(result["label_aided"], style="bold yellow", soft_wrap=True)
    print_tables(tables_of(result), screen)
    for sentence in result["left_out"]:
        screen.print(sentence, soft_wrap=True)
    for sentence in result["warnings"]:
        screen.print(f"warning: {sentence}", style="yellow", soft_wrap=True)
    screen.print(f"step {result['step']}, {result['samples']} samples → {target}", soft_wrap=True)
