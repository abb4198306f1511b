"""`gavt status`: how a job stands, and all its attempts."""

import shlex
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from cluster.errors import UserError
from cluster.terminal import printable
from jobs.output import JsonFlag, console, print_json

if TYPE_CHECKING:
    from cluster.job_folder import JobFolder
    from pipeline.train.run.job_goodput import JobGoodput

JobArgument = Annotated[
    str, typer.Argument(metavar="JOB", help="Name or folder of a job, or its run folder.", show_default=False)
]


def status(job: JobArgument, as_json: JsonFlag = False) -> None:
    """Say how a job stands."""
    from cluster.job_records import meaning
    from jobs.job_state import JobState
    from jobs.known_jobs import find_job
    from pipeline.train.run.job_goodput import job_goodput

    state = JobState.of(find_job(job))
    record = state.job.record
    screen = console(as_json)
    detail = f" ({state.detail})" if state.detail else ""
    screen.print(f"{record.name} on {record.place}: {state.word}{detail}\n{state.job.url}", soft_wrap=True)
    screen.print(f"{shlex.join(('gavt', *record.given))}\nsettings: {state.job.settings_url}", soft_wrap=True)
    if state.attempts:
        table = Table("attempt", "id", "nodes", "began", "ended", "exit code", "reached", box=None, pad_edge=False)
        for attempt in state.attempts:
            runs = state.word == "running" and attempt is state.attempts[-1] and attempt.ended is None
            code = "" if attempt.exit_code is None else f"{attempt.exit_code}: "
            steps = [str(one) for one in (attempt.reached_before, attempt.reached) if one is not None]
            nodes = ", ".join(attempt.nodes[:4]) + (" …" if len(attempt.nodes) > 4 else "")
            words = (str(attempt.number), attempt.id, nodes, attempt.began[:19], (attempt.ended or "")[:19])
            lost = attempt.ended is not None and attempt.exit_code is None
            said = "running" if runs else "a machine was lost" if lost else code + meaning(attempt.exit_code)
            table.add_row(*words, said, " → ".join(steps))
        screen.print(table)
        if (sentence := state.attempts[-1].said) is not None:
            screen.print(f"attempt {state.attempts[-1].number} said: {sentence}", soft_wrap=True)
    if state.word == "unknown" and record.place == "ray":
        again = f"gavt resume {record.name} --address http://HOST:8265"
        screen.print(f"if that cluster is lost for good, it goes on at another: {again}", soft_wrap=True)
    if state.word == "stopped":
        if said := _last_words(state.job):
            screen.print(f"its place last said: {printable(said)}", soft_wrap=True, markup=False, highlight=False)
        screen.print(f"nothing has it go on by itself any more: gavt resume {record.name}", soft_wrap=True)
    goodput = job_goodput(record.folder) if record.verb == "train" else None
    if goodput is not None:
        screen.print(_said(goodput), soft_wrap=True)
    if as_json:
        print_json(state.for_programs() | {"goodput": None if goodput is None else goodput.for_programs()})


def _last_words(job: "JobFolder") -> str:
    """The last line of what the job's place has to say of it: why nothing began, say."""
    from cluster.launchers.places import launcher_of

    try:
        lines = launcher_of(job.record.place).logs(job).strip().splitlines()
    except UserError:  # it can't be asked from here
        return ""
    return lines[-1] if lines else ""


def _said(goodput: "JobGoodput") -> str:
    """Where the time went, for people."""
    training, validation, *lost = [f"{name} {share:.1%}" for name, share in goodput.shares().items()]
    return (
        f"goodput {goodput.goodput:.1%} of {goodput.total_s:.0f} s on machines: {training}, {validation}; lost: "
        f"{', '.join(lost)}. Without machines between attempts: {goodput.between_s:.0f} s. "
        f"With attempts of an hour goodput would be {goodput.with_attempts_of(3600):.1%}"
    )
