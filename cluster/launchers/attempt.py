"""One attempt of a job, where the job runs: recorded, its logs kept, and what follows from how it ends."""

import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from enum import Enum

from cluster.errors import StorageError
from cluster.exit_codes import IN_USE, INTERRUPTED, RESTART, WRONG_INPUT
from cluster.job_environment import JobAttempt
from cluster.job_folder import JobFolder
from cluster.job_records import Attempt, attempts_without_progress, meaning, now
from cluster.launchers.rank_logs import RankLogs, rank_logs

_HELD_S = 150.0
"""How long what is left of a lost attempt may hold the work: a node of Ray lives on for a minute without its head."""
_HELD_PAUSE_S = 2.0


class Then(Enum):
    """What follows an attempt."""

    OVER = "over"
    """The job has an outcome, or goes on elsewhere."""
    AGAIN = "again"
    """The same command once more, here and at once: a process died, and the machines are still the job's."""
    AGAIN_LATER = "again later"
    """It was asked to leave: the machines are to be given up, and the place starts it again."""


def run_attempt(
    job: JobFolder,
    id: str,
    run: Callable[[RankLogs], int | None],
    nodes: Sequence[str] | None = None,
    is_excused: Callable[[], bool] = lambda: False,
) -> Then:
    """Run the job's command once, and decide by its exit code and the progress what follows.

    An attempt before it that has no end was killed with all that watched it. What is left of it may still hold the
    run folder for a while: that it is in use does not end the job for two and a half minutes after such an attempt, nor
    does it count.

    Args:
        id: the job's id at its place.
        run: starts the processes and waits for them; gives the exit code, or None where machines were lost, so that
            nobody knows whether all has ended.
        nodes: names of the machines; this one by default.
        is_excused: whether it was the place that ended it, asked when it has ended: without progress it does not count.
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
    os.environ.update(JobAttempt(job.url, begun.number).variables())
    with rank_logs(job.attempt_url(begun.number)) as logs:
        code = run(logs)
    held = _held_since_lost([*before, begun]) if code == IN_USE else 0
    end = {"ended": now(), "exit_code": code, "reached": _reached(job), "excused": held > 0 or is_excused()}
    job.write_attempt(begun.model_copy(update=end))
    attempts = job.attempts()
    if attempts[-1].number != begun.number:  # the place took this one for lost, and has begun another
        return Then.OVER
    then = _decide(job, attempts, code, held > 0)
    time.sleep(held * _HELD_PAUSE_S)
    return then


def _held_since_lost(attempts: Sequence[Attempt]) -> int:
    """How many attempts, this last one among them, may have found their work held by what is left of a lost one."""
    since: list[Attempt] = []
    for attempt in reversed(attempts[:-1]):
        if attempt.exit_code is None:
            first = since[-1] if since else attempts[-1]
            age = datetime.fromisoformat(now()) - datetime.fromisoformat(first.began)
            return len(since) + 1 if age.total_seconds() < _HELD_S else 0
        if attempt.exit_code != IN_USE:
            break
        since.append(attempt)
    return 0


def _decide(job: JobFolder, attempts: Sequence[Attempt], code: int | None, held: bool) -> Then:
    if code == 0:
        job.end("done", "all is done")
    elif code == WRONG_INPUT or (code == IN_USE and not held):
        job.end("failed", f"{meaning(code)}; see the log of attempt {len(attempts)}")
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
