"""Goodput of a run that jobs train: training and validation over the time that they had machines. Waiting in a queue is
none of it.

What the run itself records as `goodput` counts the queue too, since nobody who trains knows why it stood still.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cluster import storage
from cluster.errors import MissingFileError
from cluster.job_folder import jobs_below
from cluster.job_records import Attempt
from pipeline.train.records.metrics_log import records_in
from pipeline.train.run.run_clock import TimeSpent


@dataclass(frozen=True)
class JobGoodput:
    """Where the time of a run's attempts went, all in seconds.

    Attributes:
        total_s: from the begin of each attempt to its end; of one that runs, to its newest checkpoint.
        between_s: from the end of each attempt to the begin of the next, in a queue say; no part of `total_s`.
        spent: what the newest checkpoint holds.
        starting_s: from the begin of an attempt to the end of its first step: imports, set-up, reading a checkpoint.
        ending_s: from what its last checkpoint holds to its end: saving and leaving, or steps that were done twice.
        attempts: how many there were.
    """

    total_s: float
    between_s: float
    spent: TimeSpent
    starting_s: float
    ending_s: float
    attempts: int

    @property
    def goodput(self) -> float:
        """Training and validation over all, 0–1."""
        return min(1.0, self.spent.useful_s / max(self.total_s, 1e-9))

    @property
    def rest_s(self) -> float:
        """What nothing else accounts for: writing records, going back to a checkpoint."""
        return max(0.0, self.total_s - self._steady_s - self.starting_s - self.ending_s)

    @property
    def attempt_costs_s(self) -> float:
        """What an attempt costs by its begin and its end."""
        return (self.starting_s + self.ending_s) / self.attempts

    def with_attempts_of(self, seconds: float) -> float:
        """What goodput would be if each attempt lasted so long: from the parts that were measured."""
        steady = self.spent.useful_s / max(self._steady_s + self.rest_s, 1e-9)
        return steady * max(0.0, 1 - self.attempt_costs_s / seconds)

    @property
    def _steady_s(self) -> float:
        """What is known of the time between starts and ends."""
        return self.spent.all_s - self.spent.first_steps_s

    def shares(self) -> dict[str, float]:
        """What each part took of the time on machines, 0–1."""
        spent = self.spent
        parts = {"training": spent.training_s, "validation": spent.validation_s, "starts": self.starting_s}
        parts |= {"ends": self.ending_s, "saves": spent.saving_s, "waiting for data": spent.data_s}
        parts |= {"the rest": self.rest_s}
        return {name: seconds / max(self.total_s, 1e-9) for name, seconds in parts.items()}

    def for_programs(self) -> dict[str, Any]:
        """All of it as JSON."""
        times = {"total_s": self.total_s, "between_s": self.between_s, "starting_s": self.starting_s}
        times |= {"ending_s": self.ending_s, "rest_s": self.rest_s, "attempt_costs_s": self.attempt_costs_s}
        found = {"goodput": self.goodput, "goodput_of_hours": self.with_attempts_of(3600), **times}
        return {"attempts": self.attempts, **self.spent.told(), **{key: round(one, 4) for key, one in found.items()}}


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
    total = between = starting = ending = 0.0
    spent = TimeSpent()
    for attempt, begin, next_begin in zip(attempts, begins, [*begins[1:], None], strict=True):
        own = [one for one in events if begin <= one["time"] and (next_begin is None or one["time"] < next_begin)]
        started = next((event["time"] for event in own if event["event"] in ("start", "resume")), None)
        saves = [event for event in own if event["event"] == "checkpoint"]
        held = saves[-1]["time"] - saves[-1]["seconds"] if saves else started  # what a checkpoint holds is of its begin
        spent = TimeSpent.of(saves[-1]) if saves else spent
        if attempt.ended is not None:
            end = _unix(attempt.ended)
        elif next_begin is None:  # it runs
            end = held or begin
        else:  # killed with all that watched it
            end = own[-1]["time"] if own else begin
        total += end - begin
        between += 0.0 if next_begin is None else max(0.0, next_begin - end)
        starting += (end if started is None else started) - begin
        ending += 0.0 if held is None else max(0.0, end - held)
    starting += spent.first_steps_s
    return JobGoodput(total, between, spent, starting, ending, len(attempts)) if spent.training_s else None


def _unix(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()
