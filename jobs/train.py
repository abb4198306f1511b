"""`gavt train`: train a model, or go on where a run stopped."""

import os
import sys
from typing import Annotated, Any

import typer

from jobs.output import JsonFlag, console, print_json


def train(
    config: Annotated[str, typer.Argument(help="Settings file (YAML), local or s3://.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Settings to override: a.b=value …")] = None,
    run: Annotated[str | None, typer.Option(help="Run folder; runs/NAME by default. An existing run goes on.")] = None,
    nproc: Annotated[int, typer.Option(min=1, help="Processes on this machine: one a GPU, say.")] = 1,
    as_json: JsonFlag = False,
) -> None:
    """Train a model; the same command again goes on from the last checkpoint."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning threads would take the cores from the loader
    from cluster.exit_codes import INTERRUPTED, RESTART
    from cluster.launch import launch_local, launched
    from pipeline.settings.experiment import ExperimentSettings
    from pipeline.settings.load import load_settings

    settings = load_settings(config, ExperimentSettings, overrides or []).settings
    folder = run or f"runs/{settings.name}"
    if nproc > 1 and not launched():
        code = launch_local([sys.executable, "-m", "jobs.cli", *sys.argv[1:]], nproc)
        if code:
            raise SystemExit(code)
        return
    result = _train_here(settings, folder, as_json)
    if result.stopped_by is not None:
        sys.stderr.write(
            f"gavt: stopped by {result.stopped_by} after step {result.step}; the same command goes on from there\n"
        )
        sys.stderr.flush()
        raise SystemExit(INTERRUPTED if result.stopped_by == "SIGINT" else RESTART)
    if as_json and os.environ.get("RANK", "0") == "0":
        print_json({"run": folder, "step": result.step, "last": result.last})


def _train_here(settings: Any, folder: str, as_json: bool) -> Any:
    from cluster.process_group import join_process_group
    from jobs.train_line import TrainLine
    from pipeline.train.loop import train as train_loop

    group = join_process_group()
    try:
        with TrainLine(console(as_json), settings.train.steps, folder, shown=group.is_main) as line:
            return train_loop(settings, folder, group, line.update)
    finally:
        group.leave()
