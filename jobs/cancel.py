"""`gavt cancel`: end a job for good."""

from jobs.output import JsonFlag, console, print_json
from jobs.status import JobArgument


def cancel(job: JobArgument, as_json: JsonFlag = False) -> None:
    """Have a job save and leave, and not start again; gavt resume takes that back."""
    from cluster.errors import JobError
    from cluster.launchers.contract import Phase
    from cluster.launchers.places import launcher_of
    from jobs.job_state import JobState
    from jobs.known_jobs import find_job

    found = find_job(job)
    found.check_owner()
    launcher = launcher_of(found.record.place)
    state = launcher.state(found)
    if found.outcome is None and state.phase == Phase.UNKNOWN:
        raise JobError(f"{found.name}: {state.detail}")
    outcome = found.end("cancelled", "by gavt cancel")
    launcher.cancel(found)
    console(as_json).print(f"{found.name}: {outcome.ending} ({outcome.why})", soft_wrap=True)
    if as_json:
        print_json(JobState.of(found).for_programs())
