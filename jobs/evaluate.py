"""`gavt evaluate`: what a trained model knows, beside what needs no model."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from jobs.output import JsonFlag, Overrides, complain, console, print_json
from jobs.tables import print_tables

if TYPE_CHECKING:
    from cluster.launch import Failure
    from cluster.process_group import ProcessGroup
    from pipeline.evaluate.measures.contract import Table
    from pipeline.evaluate.over_runs import EvaluationOverRuns
    from pipeline.evaluate.result import Evaluation
    from pipeline.evaluate.settings import EvaluateSettings
    from pipeline.experiment import ExperimentSettings

Sweep = Literal["attention"]


def evaluate(
    runs: Annotated[
        list[str],
        typer.Argument(help="Run folder, its checkpoints/ or one checkpoint, local or s3://; several, seeds say."),
    ],
    data: Annotated[str, typer.Option(help="Shard set to evaluate on, local or s3://.")],
    validation: Annotated[
        str | None, typer.Option(help="Shard set that chooses the readout; by default the run's data.validation.")
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            help="Folder of evaluation.json; by default the run folder of the checkpoint. Of several runs, the folder "
            "of evaluations.json, which has means and spread."
        ),
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
    """Judge checkpoints by the settings' measures: alignment, and maps of where the sound comes from, beside rows that
    ignore the sound. Of several runs the figures are means ± half of the 95 % interval, and each run's stand below."""
    from pipeline.evaluate.registry import AttentionSweepSettings
    from pipeline.evaluate.result import ATTENTION_SWEEP

    judging = Judging() if sweep is None else Judging(lambda settings: settings.only(AttentionSweepSettings), False)
    file = None if sweep is None else ATTENTION_SWEEP
    judge_runs(runs, data, validation, out, config, overrides or [], nproc, as_json, judging, file)


@dataclass(frozen=True)
class Judging:
    """By what a verb has runs judged.

    Attributes:
        settings: what it makes of the settings' `evaluate`.
        chooses: the validation split chooses something.
        folder: in the run's own, where the evaluation lies; the run's own unless given.
    """

    settings: "Callable[[EvaluateSettings], EvaluateSettings]" = lambda settings: settings
    chooses: bool = True
    folder: str = ""


def judge_runs(
    runs: list[str],
    data: str,
    validation: str | None,
    out: str | None,
    config: str | None,
    overrides: list[str],
    nproc: int,
    as_json: bool,
    judging: Judging,
    file: str | None = None,
) -> None:
    """Judge and print, on so many processes.

    Args:
        file: of the figures, instead of `evaluation.json`.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning threads would take the cores from the loader
    from cluster.job_environment import JobEnvironment
    from cluster.launch import launch_local

    job = JobEnvironment.of_this_process()
    if nproc > 1 and not job.is_launched:
        code = launch_local([sys.executable, "-m", "jobs.cli", *sys.argv[1:]], nproc, on_crash=say_crash)
        if code:
            raise SystemExit(code)
        return
    from pipeline.evaluate.evaluate import RunToJudge, evaluate_runs
    from pipeline.evaluate.result import EVALUATION
    from pipeline.evaluate.run_files import config_of
    from pipeline.train.checkpoints import find_checkpoint

    with ExitStack() as stack:
        group = stack.enter_context(joined()) if job.is_launched else None

        def find() -> "tuple[list[str], list[str | None]]":
            urls = [find_checkpoint(run).url for run in runs]  # before anything else is said about its run
            return urls, [config or config_of(url) for url in urls]

        found, files = find() if group is None else group.on_main(find)
        targets = _folders(found, out, judging.folder)
        settings = _settings(files, overrides, validation)
        bars = stack.enter_context(Bars(as_json, shown=job.is_main))

        def show(results: "list[Evaluation]", together: "EvaluationOverRuns | None") -> None:
            bars.stop()
            if together is None:
                _print(results[0], targets[0], as_json)
            else:
                _print_over_runs(together, str(out), as_json)
            if as_json:
                print_json({**(together or results[0]), "out": targets[0] if together is None else out})

        if validation is None and judging.chooses:
            stack.enter_context(_named_by_a_setting(settings.data.validation))
        evaluate_runs(
            [RunToJudge(run, target) for run, target in zip(runs, targets, strict=True)],
            data,
            (validation or settings.data.validation) if judging.chooses else None,
            out if len(runs) > 1 else None,
            judging.settings(settings.evaluate),
            settings.data,
            group,
            bars.show,
            show,
            file or EVALUATION,
        )


def _folders(checkpoints: Sequence[str], out: str | None, within: str) -> list[str]:
    """Where each one's evaluation goes.

    Args:
        within: folder in a run's, or nothing.

    Raises:
        RunError: several, of the same run or without a folder for what they say together.
    """
    from cluster import storage
    from pipeline.errors import RunError
    from pipeline.evaluate.run_files import run_folder

    folders = [storage.join(run_folder(url), within) if within else run_folder(url) for url in checkpoints]
    if len(folders) == 1:
        return [out or folders[0]]
    if out is None:
        raise RunError(f"gavt evaluate: expected --out, the folder of what {len(folders)} runs say together")
    for place, folder in enumerate(folders):
        if folder in [*folders[:place], out.rstrip("/")]:
            raise RunError(f"{folder}: expected a folder of its own for each run and for --out, found it twice")
    return folders


def _settings(files: "Sequence[str | None]", overrides: list[str], validation: str | None) -> "ExperimentSettings":
    """The settings by which all are judged.

    Raises:
        SettingsError: the runs' own say different things.
    """
    from pipeline.errors import SettingsError
    from pipeline.experiment import ExperimentSettings
    from pipeline.settings.load import load_settings

    read = [load_settings(file, ExperimentSettings, overrides) for file in files]
    first = read[0].settings
    for file, other in zip(files[1:], read[1:], strict=True):
        said = {key: value for key, value, _ in other.rows()}
        for key, value, _ in read[0].rows():
            judges = key.startswith("evaluate.") or (key == "data.validation" and validation is None)
            if judges and said.get(key) != value:
                raise SettingsError(
                    f"{file}: {key}: expected {value} as in {files[0]}, for runs are judged in one way, found "
                    f"{said.get(key)}; say it by --set or --config"
                )
    return first


@contextmanager
def _named_by_a_setting(validation: str | None) -> "Iterator[None]":
    """Whoever named no validation set is told where its name comes from: it may be one of another folder or machine."""
    from pipeline.errors import ShardSetError

    try:
        yield
    except ShardSetError as error:
        if validation is None or not str(error).startswith(validation):
            raise
        raise ShardSetError(f"data.validation: {error}; --validation takes another set") from error


@contextmanager
def joined() -> "Iterator[ProcessGroup]":
    """The group of the processes that were started together."""
    from cluster.process_group import join_process_group

    group = join_process_group()
    try:
        yield group
    finally:
        group.leave()


def say_crash(failure: "Failure", left: int | None) -> None:
    """Of processes that were started together."""
    complain(f"{failure}; giving up")


class Bars:
    """A progress bar for each part of the evaluation."""

    def __init__(self, as_json: bool, shown: bool) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=console(as_json), transient=True, disable=not shown)
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> "Bars":
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


def _print_over_runs(together: "EvaluationOverRuns", target: str, as_json: bool) -> None:
    from pipeline.evaluate.measures.contract import tables_of
    from pipeline.evaluate.over_runs import summary

    screen = console(as_json)
    _print_tables(tables_of(together), together, screen)
    screen.print(f"{summary(together)} → {target}", soft_wrap=True)


def _print(result: "Evaluation", target: str, as_json: bool) -> None:
    from pipeline.evaluate.measures.contract import tables_of

    screen = console(as_json)
    _print_tables(tables_of(result), result, screen)
    screen.print(f"step {result['step']}, {result['samples']} samples → {target}", soft_wrap=True)


def _print_tables(tables: "list[Table]", said: "Evaluation | EvaluationOverRuns", screen: Console) -> None:
    """Tables, what is not among them, and what is to be read with them."""
    from pipeline.evaluate.coverage import said_of_coverage
    from pipeline.evaluate.over_runs import said_of_labels

    for sentence in said_of_labels(said):
        screen.print(sentence, style="bold yellow" if "label-aided" in sentence else None, soft_wrap=True)
    print_tables(tables, screen)
    for sentence in said["left_out"]:
        screen.print(sentence, soft_wrap=True)
    for sentence in said["warnings"]:
        screen.print(f"warning: {sentence}", style="yellow", soft_wrap=True)
    screen.print(said_of_coverage(said["coverage"]), soft_wrap=True)
