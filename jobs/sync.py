"""`gavt sync`: bring wandb up to date with a run."""

from typing import Annotated

import typer

from jobs.output import JsonFlag, console, print_json


def sync(
    run: Annotated[str, typer.Argument(help="Run folder, local or s3://; it may still be training offline.")],
    as_json: JsonFlag = False,
) -> None:
    """Send wandb those records of a run that it lacks: after offline training, or an outage of the server."""
    from pipeline.train.sync import sync_run

    sent = sync_run(run)
    console(as_json).print(f"sent to wandb: {sent} records")
    if as_json:
        print_json({"run": run, "sent": sent})
