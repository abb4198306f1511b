"""`gavt compare`: the curves of runs beside each other, or what their evaluations found of the same samples."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from jobs.number_options import finite
from jobs.output import JsonFlag, console, print_json

if TYPE_CHECKING:
    from pipeline.train.records.compare import Comparison


def compare(
    runs: Annotated[list[str], typer.Argument(help="Run folders, local or s3://; all are compared with the first.")],
    tolerance: Annotated[
        float | None,
        typer.Option(min=0, callback=finite, help="Largest relative difference that is allowed, of losses."),
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            help="Compare evaluations instead of curves: those of RUNS, seeds of one side, with this run's; repeat it "
            "for seeds of the other side."
        ),
    ] = None,
    row: Annotated[str, typer.Option(help="The row of tables that is compared, with --against.")] = "model",
    draws: Annotated[int, typer.Option(min=100, help="Draws of the paired bootstrap, with --against.")] = 10_000,
    seed: Annotated[int, typer.Option(min=0, help="Of these draws.")] = 0,
    plot: Annotated[Path | None, typer.Option(help="Draw all curves into this picture (.png, .svg, .pdf).")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Compare the curves of runs step by step. Exit code 1 where a loss lies outside the tolerance, where with a
    tolerance one run has steps or curves that another lacks, and where there is nothing to compare.

    With --against, compare what gavt evaluate found: the difference on the same samples, its 95 % interval and p by a
    paired bootstrap, and over seeds."""
    if against:
        from jobs.compare_evaluations import compare_evaluations

        compare_evaluations(runs, against, row, draws, seed, as_json)
        return
    from cluster import storage
    from pipeline.errors import RunError
    from pipeline.train.records.compare import compare_curves, differing_settings, read_run

    if len(runs) < 2:
        raise RunError(f"gavt compare: expected two runs or more, found {len(runs)}")
    if plot is not None and plot.suffix not in (".png", ".svg", ".pdf"):
        raise RunError(f"--plot {plot}: expected a name that ends in .png, .svg or .pdf")
    if plot is not None:
        storage.check_file_writable(plot)
    read = [read_run(run) for run in runs]
    found = {run.url: compare_curves(read[0], run, tolerance or 0.0) for run in read[1:]}
    settings = differing_settings(read)
    screen = console(as_json)
    for run in read:
        if run.unread is not None:
            screen.print(f"{run.unread}; its losses are told by their names", style="yellow", soft_wrap=True)
        if run.label_aided is not None:
            screen.print(f"{run.url}: {run.label_aided}", style="bold yellow", soft_wrap=True)
    screen.print(f"relative differences from {runs[0]}")
    screen.print(_table(found))
    for comparison in found.values():
        for sentence in comparison.lacking:
            screen.print(sentence, style="yellow", soft_wrap=True)
    for name, values in settings.items():
        screen.print(f"{name}: {' | '.join(map(str, values))}")
    if plot is not None:
        from pipeline.train.records.curves_figure import draw_curves

        draw_curves(read, [Path(run.rstrip("/")).name for run in runs], plot)
        screen.print(f"curves: {plot}")
    alike = all(comparison.alike for comparison in found.values())
    if as_json:
        rows = {url: [_finite(asdict(row)) for row in comparison.differences] for url, comparison in found.items()}
        lacking = {url: comparison.lacking for url, comparison in found.items()}
        ok = None if tolerance is None else alike
        said = {"first": runs[0], "differences": rows, "lacking": lacking, "settings": settings, "ok": ok}
        print_json(said | {"label_aided": {run.url: run.label_aided for run in read}})
    if tolerance is not None and not alike:
        screen.print(_verdict(found, tolerance), soft_wrap=True)
        raise typer.Exit(1)
    if not all(comparison.differences for comparison in found.values()):
        raise typer.Exit(1)


def _table(found: "Mapping[str, Comparison]") -> Table:
    table = Table("run", "curve", "steps", "largest", "at step", "mean", "parts at step", box=None, pad_edge=False)
    for url, comparison in found.items():
        for row in comparison.differences:
            parts = "never" if row.parts_at is None else str(row.parts_at)
            numbers = (str(row.steps), f"{row.largest:.2e}", str(row.largest_at), f"{row.mean:.2e}", parts)
            table.add_row(url, row.curve, *numbers)
    return table


def _verdict(found: "Mapping[str, Comparison]", tolerance: float) -> str:
    """Why the runs are not alike."""
    rows = [row for comparison in found.values() for row in comparison.differences if row.judged]
    outside = [row for row in rows if row.outside_at is not None]
    if not outside:
        return f"not alike within {tolerance}: what only one of the runs has can't be compared"
    worst = max(outside, key=lambda row: row.largest)
    return f"outside the tolerance of {tolerance}: {worst.curve} by {worst.largest:.2e}"


def _finite(row: dict[str, object]) -> dict[str, object]:
    """JSON has no infinity: null stands for a number beside none."""
    return {name: None if value == float("inf") else value for name, value in row.items()}
