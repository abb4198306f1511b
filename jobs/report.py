"""`gavt report`: one page about a run."""

from typing import Annotated

import typer

from jobs.output import JsonFlag, console, print_json


def report(
    run: Annotated[str, typer.Argument(help="Run folder, local or s3://.")],
    out: Annotated[str | None, typer.Option(help="The page's path; report.html in the run folder by default.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Write one self-contained HTML page: curves, the evaluation with its controls, maps, settings."""
    from pipeline.evaluate.report.report import write_report
    from pipeline.experiment import ExperimentSettings

    page = write_report(run, out, ExperimentSettings)
    console(as_json).print(f"report: {page}")
    if as_json:
        print_json({"report": page})
