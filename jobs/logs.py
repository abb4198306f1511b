"""`gavt logs`: what the ranks of a job printed."""

import sys
import time
from typing import Annotated, Any

import typer

from cluster.terminal import printable
from jobs.status import JobArgument

_LOOK_EVERY_S = 1.0


def logs(
    job: JobArgument,
    rank: Annotated[int, typer.Option(min=0, help="Which rank.")] = 0,
    attempt: Annotated[
        int | None, typer.Option(min=1, help="Which attempt; the newest by default.", show_default=False)
    ] = None,
    place: Annotated[bool, typer.Option("--place", help="What the place itself said: queue, start, end.")] = False,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what comes, until the job is over.")
    ] = False,
) -> None:
    """Print the log of a rank."""
    from cluster.errors import JobError
    from cluster.launchers.places import launcher_of
    from jobs.known_jobs import find_job

    found = find_job(job)
    if place:
        _write(launcher_of(found.record.place).logs(found))
        return
    if attempt is not None and attempt > (count := len(found.attempts())):
        raise JobError(f"--attempt: {found.name} has {count} attempts, found {attempt}")
    if follow:
        _follow(found, rank, attempt)
        return
    number = attempt or len(found.attempts())
    if number == 0:
        said = launcher_of(found.record.place).logs(found).strip()  # why none can begin, if that is so
        if not said:
            raise JobError(f"{found.name}: no attempt has begun yet; see gavt status")
        _write(f"{found.name}: no attempt has begun yet; its place says:\n{said}\n")
        return
    if rank not in (ranks := found.ranks(number)):
        did = f"{len(ranks)} did, from {min(ranks)} to {max(ranks)}" if ranks else "none did yet"
        raise JobError(f"--rank: expected a rank that said something in attempt {number} ({did}), found {rank}")
    _show(found.log_url(number, rank), 0)


def _follow(job: Any, rank: int, only: int | None) -> None:
    """Show an attempt's log as it grows, and then those of the attempts behind it."""
    number, shown = only or max(1, len(job.attempts())), 0
    while True:
        over, attempts = job.outcome is not None, len(job.attempts())  # before the last look
        if rank in job.ranks(number):
            shown += _show(job.log_url(number, rank), shown)
        if number < attempts and only is None:
            number, shown = number + 1, 0
            sys.stdout.write(f"--- attempt {number}\n")
        elif over or number < attempts:
            return
        else:
            time.sleep(_LOOK_EVERY_S)


def _show(url: str, start: int) -> int:
    """Print a file from a byte on; how many there were."""
    from cluster import storage

    content = storage.read_range(url, start, max(0, storage.size(url) - start))
    _write(content.decode("utf-8", errors="replace"))
    return len(content)


def _write(text: str) -> None:
    sys.stdout.write(printable(text))
    sys.stdout.flush()
