"""`gavt sync`: bring wandb up to date with a run."""

from typing import Annotated

import typer

from jobs.output import JsonFlag, console, print_json


def sync(
    run: Annotated[str, typer.Argument(help="Run folder, local or s3://; it may still be training offline.")],
    entity: Annotated[str | None, typer.Option(help="Send it to this entity of wandb; from now on the run's.")] = None,
    project: Annotated[str | None, typer.Option(help="Send it to this project; from now on the run's.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Send wandb those records of a run that it lacks: after offline training, or an outage of the server."""
    from pipeline.train.run.sync import sync_run

    screen = console(as_json)
    sent = sync_run(run, entity, project, lambda sentence: screen.print(sentence, soft_wrap=True))
    screen.print(f"sent to wandb: {sent} records")
    if as_json:
        print_json({"run": run, "sent": sent})
