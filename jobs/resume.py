"""`gavt resume`: have a job go on that stopped, was cancelled or given up."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.output import JsonFlag, console, print_json
from jobs.status import JobArgument

if TYPE_CHECKING:
    from cluster.job_folder import JobFolder
    from cluster.launchers.contract import Launcher, PlaceState

_LEAVES_WITHIN_S = 10
"""A place may need a moment to end what has noted its outcome already."""


def resume(
    job: JobArgument,
    address: Annotated[
        str | None,
        typer.Option(
            help="Ray: the dashboard of a cluster in place of one that was lost for good.", show_default=False
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Submit a job again; its work goes on where it stopped, and attempts are counted anew."""
    from cluster.errors import JobError
    from cluster.launchers.contract import Phase
    from cluster.launchers.places import launcher_of
    from jobs.job_state import JobState
    from jobs.known_jobs import find_job

    found = find_job(job)
    found.check_owner()
    launcher = launcher_of(found.record.place, address)
    state = _state_when_left(launcher, found)
    outcome = found.outcome
    if outcome is not None and outcome.ending == "done":
        raise JobError(f"{found.name}: all is done already")
    # who names another cluster says that the one that nobody can ask any more is lost
    if state.phase != Phase.GONE and not (state.phase == Phase.UNKNOWN and address is not None):
        raise JobError(f"{found.name}: expected a job that has stopped, found it {state.phase.value}: {state.detail}")
    launcher.check(found.record)
    attempts = len(found.attempts())
    found.reopen()
    note = found.note_submission(launcher.submit(found), "resume", attempts)
    console(as_json).print(f"{found.name}: submitted again as {note.id}", soft_wrap=True)
    if as_json:
        print_json(JobState.of(found).for_programs())


def _state_when_left(launcher: "Launcher", job: "JobFolder") -> "PlaceState":
    """What the place says, once it has had time to let go of a job that has come to its end."""
    from cluster.launchers.contract import Phase

    until = time.monotonic() + _LEAVES_WITHIN_S
    while (state := launcher.state(job)).phase == Phase.RUNNING and job.outcome and time.monotonic() < until:
        time.sleep(0.1)
    return state
