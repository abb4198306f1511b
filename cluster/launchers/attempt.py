"""One attempt of a job, where the job runs: recorded, its logs kept, and what follows from how it ends."""

import socket
import sys
from collections.abc import Callable, Sequence
from enum import Enum

from cluster.errors import StorageError
from cluster.exit_codes import INTERRUPTED, RESTART, WRONG_INPUT
from cluster.job_folder import JobFolder
from cluster.job_records import Attempt, attempts_without_progress, meaning, now
from cluster.launchers.rank_logs import RankLogs, rank_logs


class Then(Enum):
    """What follows an attempt."""

    OVER = "over"
    """The job has an outcome, or goes on elsewhere."""
    AGAIN = "again"
    """The same command once more, here and at once: a process died, and the machines are still the job's."""
    AGAIN_LATER = "again later"
    """It was asked to leave: the machines are to be given up, and the place starts it again."""


def run_attempt(
    job: JobFolder, id: str, run: Callable[[RankLogs], int | None], nodes: Sequence[str] | None = None
) -> Then:
    """Run the job's command once, and decide by its exit code and the progress what follows.

    An attempt before it that has no end was killed with all that watched it. What is left of it may still hold the
    run folder for a moment, by which this one ends as wrong input does: so that after such an attempt does not end the
    job.

    Args:
        id: the job's id at its place.
        run: starts the processes and waits for them; gives the exit code, or None where machines were lost, so that
            nobody knows whether all has ended.
        nodes: names of the machines; this one by default.
    """
    if job.outcome is not None:
        return Then.OVER
    before = job.attempts()
    begun = Attempt(
        number=len(before) + 1,
        id=id,
        nodes=tuple(nodes or [socket.gethostname()]),
        began=now(),
        reached_before=_reached(job),
    )
    job.write_attempt(begun)
    with rank_logs(job.attempt_url(begun.number)) as logs:
        code = run(logs)
    end = {"ended": now(), "exit_code": code, "reached": _reached(job)}
    job.write_attempt(begun.model_copy(update=end))
    attempts = job.attempts()
    if attempts[-1].number != begun.number:  # the place took this one for lost, and has begun another
        return Then.OVER
    return _decide(job, attempts, code)


def _decide(job: JobFolder, attempts: Sequence[Attempt], code: int | None) -> Then:
    after_lost = len(attempts) > 1 and attempts[-2].exit_code is None
    if code == 0:
        job.end("done", "all is done")
    elif code == WRONG_INPUT and not after_lost:
        job.end("failed", f"wrong input; see the log of attempt {len(attempts)}")
    if job.outcome is not None:
        return Then.OVER
    after = max((note.after_attempt for note in job.submissions() if note.reason == "resume"), default=0)
    vain = attempts_without_progress(attempts, after)
    if vain >= job.record.attempts:
        job.end("given up", f"{vain} attempts in a row without progress, the last one: {_said(code)}")
        return Then.OVER
    # nobody presses Ctrl-C in a job: a verb that says that it was interrupted got a signal
    return Then.AGAIN_LATER if code in (RESTART, INTERRUPTED) else Then.AGAIN


def _said(code: int | None) -> str:
    return meaning(code) if code is None else f"{meaning(code)} ({code})"


def _reached(job: JobFolder) -> int | None:
    """How far the work is; None, too, where the storage is away, which is no reason not to go on."""
    try:
        return job.reached()
    except StorageError as error:
        sys.stderr.write(f"gavt: {error}\n")
        return None
