"""How a job stands, in a word and for a program."""

from dataclasses import dataclass
from typing import Any

from cluster.job_folder import JobFolder
from cluster.job_records import Attempt, Outcome
from cluster.launchers.contract import Phase
from cluster.launchers.places import launcher_of


@dataclass(frozen=True)
class JobState:
    """A job as it stands.

    Attributes:
        word: `queued`, `running`, `stopped` (it may go on, and nobody has it go on), `unknown`; or how it ended:
            `done`, `failed`, `given up`, `cancelled`.
        detail: more of it, for people.
    """

    job: JobFolder
    word: str
    detail: str
    attempts: list[Attempt]
    outcome: Outcome | None

    @classmethod
    def of(cls, job: JobFolder) -> "JobState":
        """Look at the job's folder, and where nothing there says that it ended, ask its place."""
        outcome = job.outcome
        if outcome is None:
            state = launcher_of(job.record.place).state(job)
            outcome = job.outcome  # written meanwhile; its place may not have noticed
        attempts = job.attempts()  # last, so that none is without an end that its place has seen
        if outcome is not None:
            return cls(job, outcome.ending, outcome.why, attempts, outcome)
        word = "stopped" if state.phase == Phase.GONE else state.phase.value
        return cls(job, word, state.detail, attempts, None)

    @property
    def is_over(self) -> bool:
        """Whether it ended for good."""
        return self.outcome is not None

    @property
    def reached(self) -> int | None:
        """How far the newest attempt that says so has come."""
        known = [one for attempt in self.attempts for one in (attempt.reached_before, attempt.reached)]
        return next((one for one in reversed(known) if one is not None), None)

    def for_programs(self) -> dict[str, Any]:
        """All of it as JSON."""
        return {
            "job": self.job.name,
            "folder": self.job.url,
            "settings": self.job.settings_url,
            "given": self.job.record.given,
            "place": self.job.record.place,
            "ids": [note.id for note in self.job.submissions()],
            "state": self.word,
            "detail": self.detail,
            "reached": self.reached,
            "attempts": [attempt.model_dump(mode="json") for attempt in self.attempts],
        }
