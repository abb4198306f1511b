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

_IN_USE_S = 3600.0
"""How long somebody else may hold the work before a job that waits for it is given up."""
_PAUSE_S, _LONGEST_PAUSE_S = 2.0, 60.0
_LOOK_EVERY_S = 0.2


class Then(Enum):
    """What follows an attempt."""

    OVER = "over"
    """The job has an outcome, or goes on elsewhere."""
    AGAIN = "again"
    """The same command once more, here and at once: a process died, and the machines are still the job's."""
    WHEN_FREE = "when free"
    """The same command once more, after `rest`, since somebody else holds the work."""
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

    Where somebody else holds the work, it is tried again for an hour; that does not count. It may be what is left of an
    attempt that was killed with all that watched it: a node of Ray lives on for a minute without its head.

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
        said = logs.sentence() if code else None
    excused = code == IN_USE or is_excused()
    end = {"ended": now(), "exit_code": code, "reached": _reached(job), "said": said, "excused": excused}
    job.write_attempt(begun.model_copy(update=end))
    attempts = job.attempts()
    if attempts[-1].number != begun.number:  # the place took this one for lost, and has begun another
        return Then.OVER
    return _decide(job, attempts, code)


def rest(job: JobFolder, is_asked: Callable[[], object] = lambda: False) -> None:
    """Wait before another try of what somebody else holds, longer each time; no longer than until this process is asked
    to leave. A place whose machines others wait for gives them back before."""
    until = time.monotonic() + min(_LONGEST_PAUSE_S, _PAUSE_S * len(_found_in_use(job.attempts())))
    while time.monotonic() < until and not is_asked():
        time.sleep(_LOOK_EVERY_S)


def _found_in_use(attempts: Sequence[Attempt]) -> list[Attempt]:
    """Those at the end that found their work held by somebody else."""
    others = [number for number, attempt in enumerate(attempts) if attempt.exit_code != IN_USE]
    return list(attempts[others[-1] + 1 :] if others else attempts)


def _decide(job: JobFolder, attempts: Sequence[Attempt], code: int | None) -> Then:
    last = attempts[-1]
    if code == 0:
        job.end("done", "all is done")
    elif code == WRONG_INPUT:
        job.end("failed", last.said or f"wrong input; see the log of attempt {last.number}")
    elif code == IN_USE:
        waited = datetime.fromisoformat(now()) - datetime.fromisoformat(_found_in_use(attempts)[0].began)
        if waited.total_seconds() > _IN_USE_S:
            job.end("given up", f"{_said(last)}; it was waited for for an hour")
    if job.outcome is not None:
        return Then.OVER
    after = max((note.after_attempt for note in job.submissions() if note.reason == "resume"), default=0)
    vain = attempts_without_progress(attempts, after)
    if vain >= job.record.attempts:
        job.end("given up", f"{vain} attempts in a row without progress, the last one: {_said(last)}")
        return Then.OVER
    if code == IN_USE:
        return Then.WHEN_FREE
    # nobody presses Ctrl-C in a job: a verb that says that it was interrupted got a signal
    return Then.AGAIN_LATER if code in (RESTART, INTERRUPTED) else Then.AGAIN


def _said(attempt: Attempt) -> str:
    code = "" if attempt.exit_code is None else f" ({attempt.exit_code})"
    return f"{meaning(attempt.exit_code)}{code}{'' if attempt.said is None else f': {attempt.said}'}"


def _reached(job: JobFolder) -> int | None:
    """How far the work is; None, too, where the storage is away, which is no reason not to go on."""
    try:
        return job.reached()
    except StorageError as error:
        sys.stderr.write(f"gavt: {error}\n")
        return None
