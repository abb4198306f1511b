"""Goodput of a run that jobs train: useful time over the time that they had machines. Waiting in a queue is none of it.

What the run itself records as `goodput` counts the queue too, since nobody who trains knows why it stood still.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from cluster import storage
from cluster.errors import MissingFileError
from cluster.job_folder import jobs_below
from cluster.job_records import Attempt
from pipeline.train.records.metrics_log import records_in


@dataclass(frozen=True)
class JobGoodput:
    """Where the time of a run's attempts went, all in seconds.

    Attributes:
        total_s: from the begin of each attempt to its end; of one that runs, to its newest checkpoint.
        useful_s: in steps that are in the newest checkpoint, as `pipeline.train.run.run_clock` counts them.
        starting_s: from the begin of an attempt to the begin of its first step: imports, set-up, reading a checkpoint.
        ending_s: from what its last checkpoint holds to its end: saving and leaving, or steps that were done twice.
        attempts: how many there were.
    """

    total_s: float
    useful_s: float
    starting_s: float
    ending_s: float
    attempts: int

    @property
    def goodput(self) -> float:
        """Useful time over all, 0–1."""
        return min(1.0, self.useful_s / max(self.total_s, 1e-9))

    @property
    def between_s(self) -> float:
        """What was lost between begin and end of attempts: waiting for data, saves on the way, validation."""
        return max(0.0, self.total_s - self.useful_s - self.starting_s - self.ending_s)

    @property
    def attempt_costs_s(self) -> float:
        """What an attempt costs by its begin and its end."""
        return (self.starting_s + self.ending_s) / self.attempts

    def with_attempts_of(self, seconds: float) -> float:
        """What goodput would be if each attempt lasted so long: from the parts that were measured."""
        between = self.useful_s / max(self.useful_s + self.between_s, 1e-9)
        return between * max(0.0, 1 - self.attempt_costs_s / seconds)

    def for_programs(self) -> dict[str, float]:
        """All of it as JSON."""
        measured = asdict(self) | {"between_s": self.between_s, "goodput": self.goodput}
        measured |= {"attempt_costs_s": self.attempt_costs_s, "goodput_of_hours": self.with_attempts_of(3600)}
        return {name: round(value, 4) for name, value in measured.items()}


def job_goodput(run: str) -> JobGoodput | None:
    """Goodput of a run (path or URL) over all its jobs; None where nothing can be said: no checkpoint yet, or steps
    were done outside of jobs.

    Raises:
        StorageError: its files can't be read.
    """
    try:
        events = records_in(storage.read_text(storage.join(run, "events.jsonl")))
    except MissingFileError:
        return None
    jobs = (job for job in jobs_below(run) if job.record.verb == "train")
    return goodput_of(sorted((one for job in jobs for one in job.attempts()), key=lambda one: one.began), events)


def goodput_of(attempts: Sequence[Attempt], events: Sequence[Mapping[str, Any]]) -> JobGoodput | None:
    """Goodput from attempts and the run's events, both oldest first; None as of `job_goodput`."""
    begins = [_unix(attempt.began) for attempt in attempts]
    if not begins or not events or events[0]["time"] < begins[0]:
        return None
    total = starting = ending = useful = 0.0
    for attempt, begin, next_begin in zip(attempts, begins, [*begins[1:], float("inf")], strict=True):
        own = [event for event in events if begin <= event["time"] < next_begin]
        started = next((event["time"] for event in own if event["event"] in ("start", "resume")), None)
        saves = [event for event in own if event["event"] == "checkpoint"]
        held = saves[-1]["time"] - saves[-1]["seconds"] if saves else started  # what a checkpoint holds is of its begin
        useful = saves[-1]["useful_s"] if saves else useful
        if attempt.ended is not None:
            end = _unix(attempt.ended)
        elif next_begin == float("inf"):  # it runs
            end = held or begin
        else:  # killed with all that watched it
            end = own[-1]["time"] if own else begin
        total += end - begin
        starting += (end if started is None else started) - begin
        ending += 0.0 if held is None else max(0.0, end - held)
    return JobGoodput(total, useful, starting, ending, len(attempts)) if useful else None


def _unix(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()
