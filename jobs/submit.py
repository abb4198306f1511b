"""`gavt submit`: have a verb run elsewhere, and go on there by itself until it is done."""

import re
from typing import Annotated, Any, Literal

import typer

from cluster.job_records import Place
from jobs.output import JsonFlag, console, print_json

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def submit(
    context: typer.Context,
    verb: Annotated[Literal["prepare", "train", "evaluate"], typer.Argument(help="What to run.")],
    to: Annotated[Place, typer.Option("--to", help="Where.", show_default=False)],
    nodes: Annotated[int, typer.Option(min=1, help="Machines.")] = 1,
    gpus_per_node: Annotated[int, typer.Option(min=0, help="GPUs of each machine.")] = 0,
    nproc: Annotated[
        int | None,
        typer.Option(min=1, help="Processes on each machine; by default one a GPU, or one.", show_default=False),
    ] = None,
    time: Annotated[
        str | None,
        typer.Option(help="How long the machines are asked for: 90m, 4h, 2d, 2-12:00:00.", show_default=False),
    ] = None,
    partition: Annotated[
        str | None, typer.Option(help="Slurm's partition; by default the site's.", show_default=False)
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            help="Ray's dashboard, http://HOST:8265; by default $RAY_ADDRESS or the site's.", show_default=False
        ),
    ] = None,
    attempts: Annotated[int, typer.Option(min=1, help="Give up after so many in a row without progress.")] = 3,
    site: Annotated[
        str | None,
        typer.Option(
            help="Settings of the place (YAML); by default $GAVT_SITE or ~/.config/gavt/site.yaml.", show_default=False
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be submitted.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Run gavt prepare, train or evaluate elsewhere. All words that are none of these options are the verb's own.

    The job is a folder in the run folder (or shard set): gavt status, logs, cancel and resume look there.
    """
    from cluster import storage
    from cluster.job_folder import SCRIPT, JobFolder
    from cluster.job_records import Resources
    from cluster.launchers.places import launcher_of
    from jobs.known_jobs import note_job
    from jobs.new_job import new_job, site_settings

    time_s = None if time is None else seconds(time)
    taken = Resources(
        nodes=nodes,
        gpus_per_node=gpus_per_node,
        processes_per_node=nproc or gpus_per_node or 1,
        time_s=time_s,
        partition=partition,
    )
    commands: Any = context.find_root().command
    new = new_job(commands.commands[verb], context.args, to, taken, attempts, site_settings(site))
    record, url = new.record, new.url
    launcher = launcher_of(to, address)
    launcher.check(record)
    script = launcher.script(record, url)
    if dry_run:
        console(as_json).print(script, soft_wrap=True, end="")
        if as_json:
            print_json({"job": record.name, "folder": url, "script": script, "record": record.model_dump(mode="json")})
        return
    job = JobFolder.create(record)
    try:
        storage.write_text(job.settings_url, new.settings)
        storage.write_text(storage.join(url, SCRIPT), script)
        note = job.note_submission(launcher.submit(job), "submit", 0)
    except BaseException:
        job.end("failed", "not submitted")
        raise
    note_job(job)
    console(as_json).print(f"{job.name}: submitted to {to} as {note.id}\n{job.url}", soft_wrap=True)
    if as_json:
        print_json({"job": job.name, "folder": job.url, "place": to, "id": note.id})


def seconds(text: str) -> int:
    """A time with a unit, or as Slurm has it: minutes, MM:SS, HH:MM:SS, D-HH, D-HH:MM, D-HH:MM:SS.

    Raises:
        typer.BadParameter: it is none.
    """
    if unit := re.fullmatch(r"(\d+)([smhd])", text):
        found = int(unit[1]) * _UNITS_S[unit[2]]
    elif parts := re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text):
        days, *rest = parts.groups()
        numbers = [int(part) for part in rest if part is not None]
        # behind days the first is hours; alone, minutes; of two without days, minutes and seconds
        first = 3600 if days is not None or len(numbers) == 3 else 60
        found = int(days or 0) * 86400 + sum(number * first // 60**place for place, number in enumerate(numbers))
    else:
        found = 0
    if found <= 0:
        raise typer.BadParameter(f"expected a time such as 90m, 4h, 2d or 2-12:00:00, found {text!r}")
    return found
