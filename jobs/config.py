"""`gavt config`: look at settings before they are used."""

from typing import Annotated

import typer
from rich.table import Table

from jobs.output import JsonFlag, Overrides, SettingsFile, console, print_json

app = typer.Typer(help="Look at settings.", no_args_is_help=True)


@app.callback()
def config() -> None:
    """Look at settings."""


@app.command("show")
def show(
    file: SettingsFile,
    overrides: Annotated[list[str] | None, typer.Argument(help="a.b=value …")] = None,
    more: Overrides = None,
    as_json: JsonFlag = False,
) -> None:
    """Print the resolved settings with where each value came from; settings that don't go together are refused."""
    from pipeline.experiment import ExperimentSettings
    from pipeline.settings.load import load_settings

    resolved = load_settings(file, ExperimentSettings, [*(overrides or []), *(more or [])])
    if resolved.settings.train.hangs_on_the_system:  # whose libraries take seconds
        from pipeline.train.system import system_without_memory

        system_without_memory(resolved.settings)
    table = Table("setting", "value", "from", box=None, pad_edge=False)
    for key, value, origin in resolved.rows():
        table.add_row(key, str(value), origin, style="dim" if origin == "default" else None)
    console(as_json).print(table)
    if as_json:
        origins = {key: origin for key, _, origin in resolved.rows()}
        print_json({"settings": resolved.shown(), "origins": origins})
