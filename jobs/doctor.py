"""`gavt doctor`: what is wrong with a machine or with a job's machines, and what to do."""

import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from jobs.output import JsonFlag, complain, console, print_json

if TYPE_CHECKING:
    from cluster.doctor.finding import Finding

_DISTRIBUTION = "gavt"
_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def doctor(
    urls: Annotated[
        list[str] | None, typer.Argument(help="Places on object storage that a job will use: s3://bucket/prefix …")
    ] = None,
    in_job: Annotated[
        bool,
        typer.Option(
            "--in-job", help="Examine all machines of the job that this is a rank of, or of the cluster RAY_ADDRESS."
        ),
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Check a machine: GPU, versions, compiler, limits, disks, storage, wandb, Slurm, Ray; with --in-job all machines
    of a job, and an all-reduce between its ranks.

    Exit codes: 0, a job will run (there may be warnings); 1, something is wrong that will stop it; 2, wrong input.
    """
    from cluster.errors import LaunchError, StorageError
    from cluster.job_environment import JobEnvironment
    from cluster.storage.location import is_stored

    for url in urls or []:
        if not is_stored(url):
            raise StorageError(f"{url}: expected a place on object storage, such as s3://bucket/prefix")
    job = JobEnvironment.of_this_process()
    machine = job.machine
    if not in_job:
        from cluster.doctor.examine import examine

        _tell({machine: examine(_DISTRIBUTION, urls or [])}, [], as_json)
        return
    if job.is_launched:
        from cluster.doctor.examine import examine
        from cluster.doctor.installed import versions
        from cluster.doctor.ranks import examine_job

        report = examine_job(
            job, machine, lambda world: examine(_DISTRIBUTION, urls or [], world), versions(_DISTRIBUTION)
        )
        if report is not None:
            _tell(report.machines, report.between, as_json)
    elif address := os.environ.get("RAY_ADDRESS"):
        from cluster.doctor.over_ray import examine_over_ray

        found = examine_over_ray(address, _DISTRIBUTION, urls or [])
        _tell(found.machines, found.between, as_json)
    else:
        raise LaunchError("--in-job: expected a launcher's variables (RANK, …) or RAY_ADDRESS, found neither")


def _tell(machines: "dict[str, list[Finding]]", between: "list[Finding]", as_json: bool) -> None:
    """Print what was found, and end with exit code 1 where something failed."""
    from cluster.doctor.finding import worst

    findings = [finding for found in machines.values() for finding in found] + between
    screen = console(as_json)
    for machine, found in machines.items():
        _print(screen, machine, found)
    if between:
        _print(screen, "between the ranks", between)
    if as_json:
        print_json(
            {
                "state": worst(findings),
                "machines": {machine: [asdict(finding) for finding in found] for machine, found in machines.items()},
                "between": [asdict(finding) for finding in between],
            }
        )
    if worst(findings) == "fail":
        failed = [finding.check for finding in findings if finding.state == "fail"]
        complain(f"doctor: {len(failed)} of {len(findings)} checks failed: {', '.join(dict.fromkeys(failed))}")
        raise SystemExit(1)


def _print(screen: Console, title: str, findings: "list[Finding]") -> None:
    table = Table("check", "", "found", "what to do", title=title, title_justify="left", box=None, pad_edge=False)
    for finding in findings:
        table.add_row(finding.check, finding.state, finding.found, finding.advice, style=_STYLES[finding.state])
    screen.print(table)
