"""`gavt report`: one page about a run, or about several side by side."""

from typing import Annotated

import typer

from jobs.output import JsonFlag, console, print_json


def report(
    runs: Annotated[list[str], typer.Argument(help="Run folder, local or s3://; several that were evaluated alike.")],
    out: Annotated[
        str | None,
        typer.Option(help="The page's path; by default report.html in the run folder. Needed for several runs."),
    ] = None,
    splits: Annotated[
        bool, typer.Option("--splits", help="The runs are of different splits of a benchmark, each judged on its own.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Write one self-contained HTML page: curves, the evaluation with its controls, a gallery of maps and sounds, which
    above 24 MiB lies in a folder beside it, settings. Of several runs the figures are means ± half of the 95 %
    interval, with those of each run, and settings are those that differ."""
    from pipeline.errors import RunError
    from pipeline.evaluate.report.report import write_report
    from pipeline.evaluate.report.report_of_runs import write_report_of_runs
    from pipeline.experiment import ExperimentSettings

    if len(runs) == 1:
        page = write_report(runs[0], out, ExperimentSettings)
    elif out is None:
        raise RunError(f"gavt report: expected --out, the page's path, for {len(runs)} runs")
    else:
        page = write_report_of_runs(runs, out, splits)
    console(as_json).print(f"report: {page}")
    if as_json:
        print_json({"report": page})
