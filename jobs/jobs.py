"""`gavt jobs`: which jobs there are, and how they stand."""

from typing import Annotated

import typer
from rich.table import Table

from jobs.output import JsonFlag, console, print_json


def jobs(
    folders: Annotated[
        list[str] | None,
        typer.Argument(
            help="Run folders or shard sets; by default all that was submitted from here.", show_default=False
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """List jobs."""
    from cluster import storage
    from cluster.job_folder import jobs_below
    from jobs.job_state import JobState
    from jobs.known_jobs import noted_jobs

    found = [job for folder in folders for job in jobs_below(storage.absolute(folder))] if folders else noted_jobs()
    states = [JobState.of(job) for job in found]
    table = Table("job", "place", "state", "attempts", "reached", "works on", box=None, pad_edge=False)
    for state in states:
        reached = "" if state.reached is None else str(state.reached)
        record = state.job.record
        table.add_row(record.name, record.place, state.word, str(len(state.attempts)), reached, record.folder)
    console(as_json).print(table)
    if as_json:
        print_json({"jobs": [state.for_programs() for state in states]})
